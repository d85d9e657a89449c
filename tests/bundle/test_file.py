"""A bundle's bytes: parts that are what was written, or one error."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib

import pytest
import torch
from safetensors.torch import save

from r2n_kernels.bundle import file
from r2n_kernels.bundle.file import BundleFile, packed_bytes, packed_text, part_sizes, write
from r2n_kernels.errors import BundleError

MANIFEST = {"schema": 1, "name": "é"}
PARTS = {
    "weight": torch.arange(6.0).half().view(2, 3),
    "bias": torch.ones(3),
    "code": packed_bytes(b"\0code"),
    "text": packed_text("ein Text: ä"),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.r2n"
    write(path, MANIFEST, PARTS)
    return path


def stated(path, manifest: str, parts=PARTS, key: str = file.KEY) -> None:
    """Write any text as the manifest, with its right hash."""
    text = hashlib.sha256(manifest.encode()).hexdigest() + manifest
    path.write_bytes(save(parts, {key: text}))


def test_what_was_written_is_read(path):
    read = BundleFile(path)
    assert read.manifest == MANIFEST
    assert read.names == PARTS.keys()
    for name in ("weight", "bias"):
        found = read.tensor(name)
        assert torch.equal(found, PARTS[name])
        assert found.dtype == PARTS[name].dtype
    assert read.data("code") == b"\0code"
    assert read.text("text") == "ein Text: ä"
    assert dict(part_sizes(read))["weight"] == 12
    read.check()


def test_same_inputs_same_bytes(path, tmp_path):
    other = tmp_path / "other.r2n"
    write(other, dict(reversed(MANIFEST.items())), dict(reversed(PARTS.items())))
    assert other.read_bytes() == path.read_bytes()


def test_strided_parts_are_written_as_they_are_seen(tmp_path):
    write(tmp_path / "a", {}, {"x": torch.arange(6.0).view(2, 3).t()})
    assert BundleFile(tmp_path / "a").tensor("x").tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_bundle_is_pinned_by_its_hash(path):
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert BundleFile(path, sha256=right.upper()).manifest == MANIFEST
    with pytest.raises(BundleError, match=f"has the SHA-256 {right}, expected abc"):
        BundleFile(path, sha256="abc")


def test_every_changed_byte_of_a_part_is_found(path):
    data = path.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    assert len(data) - start == sum(size for _, size in part_sizes(BundleFile(path)))
    for place in range(start, len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(BundleError, match=r"the hash of part '.*' is another"):
            BundleFile(path).check()


def test_a_changed_manifest_is_found(path):
    data = path.read_bytes()
    path.write_bytes(data.replace(b"schema", b"schemb"))
    with pytest.raises(BundleError, match=r"model\.r2n is damaged: the manifest's hash is another"):
        BundleFile(path)


@pytest.mark.parametrize("size", [0, 7, 8, 100])
def test_a_cut_file_is_refused(size, path):
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(BundleError, match=r"is no bundle|is damaged"):
        BundleFile(path)


def test_a_file_without_its_end_is_refused(path):
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match="is damaged: "):
        BundleFile(path)


def test_a_huge_header_is_not_read(path):
    path.write_bytes(struct.pack("<Q", file.MANIFEST + 1) + path.read_bytes()[8:])
    with pytest.raises(BundleError, match="is no bundle of r2n_kernels"):
        BundleFile(path)


def test_no_file(tmp_path):
    with pytest.raises(BundleError, match="no such file"):
        BundleFile(tmp_path / "none.r2n")
    with pytest.raises(BundleError, match="no such file"):
        BundleFile(tmp_path)


def test_control_characters_of_a_name_are_not_printed(tmp_path):
    with pytest.raises(BundleError) as caught:
        BundleFile(tmp_path / "a\x1b[31m.r2n")
    assert "\x1b" not in str(caught.value)


def test_a_file_of_safetensors_is_no_bundle(path):
    for metadata in (None, {"format": "pt"}):
        path.write_bytes(save(PARTS, metadata))
        with pytest.raises(BundleError, match="its manifest is missing"):
            BundleFile(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", "7", '{"parts": 3}', '{"parts": [1]}', "[" * 100_000]
)
def test_a_manifest_that_is_none(text, path):
    stated(path, text)
    with pytest.raises(BundleError, match="its manifest cannot be read"):
        BundleFile(path)


def test_parts_are_those_that_the_manifest_names(path):
    hashes = BundleFile(path).hashes
    for other in ({**hashes, "more": "0"}, {k: v for k, v in hashes.items() if k != "code"}):
        stated(path, json.dumps({"parts": other}))
        with pytest.raises(BundleError, match=r"part '(more|code)' is missing or too many"):
            BundleFile(path)


def test_a_part_that_is_not_there(path):
    with pytest.raises(BundleError, match="has no part 'none'"):
        BundleFile(path).tensor("none")


def test_a_part_of_another_dtype(path):
    odd = torch.ones(3, dtype=torch.bool)
    hashes = {"odd": file.tensor_digest(odd)}
    stated(path, json.dumps({"parts": hashes}), {"odd": odd})
    with pytest.raises(BundleError, match="the hash of part 'odd' is another"):
        BundleFile(path).check()


def test_texts_that_do_not_unpack(tmp_path):
    bomb = zlib.compress(bytes(2**26))  # 64 MiB from a sixteenth of one
    parts = {"raw": packed_bytes(b"text"), "bomb": packed_bytes(bomb),
             "cut": packed_text("text" * 99)[:-2],
             "latin": packed_bytes(zlib.compress(b"\xff"))}  # fmt: skip
    write(tmp_path / "a", {}, parts)
    read = BundleFile(tmp_path / "a")
    for name in ("raw", "latin"):
        with pytest.raises(BundleError, match=f"is damaged: part '{name}'"):
            read.text(name)
    with pytest.raises(BundleError, match="part 'bomb' is cut, or has more than 16,777,216 bytes"):
        read.text("bomb")
    with pytest.raises(BundleError, match="part 'cut' is cut"):
        read.text("cut")


def test_a_proof_is_no_part_of_the_content(path):
    read = BundleFile(path)
    content = read.content()
    read.rewritten({file.PROOF: packed_text("{}")})
    again = BundleFile(path)
    assert again.names == PARTS.keys() | {file.PROOF}
    assert again.content() == content
    again.rewritten({"bias": torch.zeros(3)})
    assert BundleFile(path).content() != content


def test_a_failed_rewrite_leaves_the_file(path, full_disk):
    data = path.read_bytes()
    with pytest.raises(OSError, match="No space left"):
        BundleFile(path).rewritten({"bias": torch.zeros(3)})
    assert path.read_bytes() == data

from __future__ import annotations

import io
import json
import shutil

import pytest
import timm
import torch
from PIL import Image

from r2n_kernels import create_model
from r2n_kernels.cli.bundled import DIGITS
from r2n_kernels.errors import ConfigError
from r2n_kernels.proof.timm_peer import TimmPeer, timm_network
from r2n_kernels.proof.tolerance import floor_of
from r2n_kernels.sources import Sample


@pytest.mark.parametrize("place", ["name", "folder", "file beside config.json", "of a folder"])
def test_timm_loads_by_itself(place):
    name, weights = {
        "name": (f"local-dir:{DIGITS}", None),
        "folder": ("res2net50_26w_4s", str(DIGITS)),
        "of a folder": (f"local-dir:{DIGITS}", str(DIGITS)),
        "file beside config.json": ("res2net50_26w_4s", str(DIGITS / "model.safetensors")),
    }[place]
    network = timm_network(name, weights, 10, 1)
    expected = timm.create_model(f"local-dir:{DIGITS}", pretrained=True)
    assert not network.training
    torch.testing.assert_close(network.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_a_bare_file(tmp_path):
    tuned = timm.create_model("res2net50_26w_4s", num_classes=3)
    torch.save(tuned.state_dict(), tmp_path / "w.pth")
    network = timm_network("res2net50_26w_4s", tmp_path / "w.pth", 3, 3)
    torch.testing.assert_close(network.fc.weight, tuned.fc.weight, rtol=0, atol=0)


def test_what_timm_cannot_load(tmp_path):
    shutil.copy(DIGITS / "config.json", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architecture": "res2net0"}))
    with pytest.raises(ConfigError, match=r"timm cannot load '.*': Unknown model .res2net0"):
        timm_network("x", str(tmp_path), 10, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_judged(dtype):
    """Our own logits pass; those of the classes in another order do not."""
    paths = sorted((DIGITS / "images").iterdir())[:3]
    samples = [
        Sample("path", str(paths[0])),
        Sample("bytes", paths[1].read_bytes()),
        Sample("remote", Url(paths[2].read_bytes())),
    ]
    model = create_model(f"local-dir:{DIGITS}", pretrained=True, dtype=dtype)
    peer = TimmPeer(timm_network(f"local-dir:{DIGITS}", None, 10, 1), {}, dtype, model.device)
    x = torch.stack([peer.transform(Image.open(io.BytesIO(p.read_bytes()))) for p in paths])
    with torch.no_grad():
        ours = model(x.to(dtype)).float()
    good, bad = peer.judged(samples, ours), peer.judged(samples, ours.flip(1))
    assert [one["timm_top1"] for one in good] == ours.argmax(1).tolist() == [0, 0, 1]
    for one, other in zip(good, bad, strict=True):
        assert one["our_error"] <= max(2 * one["timm_error"], floor_of(dtype, network=True))
        assert other["our_error"] > 0.5
        assert other["timm_error"] == one["timm_error"]


class Url:
    """Stands for content behind a URL."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read(self) -> bytes:
        return self.content

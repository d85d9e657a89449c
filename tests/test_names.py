"""Names of models and sources: taken and refused as timm takes and refuses them."""

from __future__ import annotations

from pathlib import Path

import pytest
from timm.models import parse_model_name as timms

from r2n_kernels import ConfigError, UnknownModelError
from r2n_kernels.names import FOLDER, HUB, parse_model_name, split_source

TAKEN = [
    "res2net50d", "res2net50d.in1k", "res2net50d.zzz", "zzz", "",
    "hf-hub:timm/res2net50d.in1k", "hf-hub:org/repo@v1", "hf_hub:org/repo", "HF-HUB:org/Repo",
    "HF_HUB:org/repo", "Hf-Hub:a:b", "local-dir:folder", "local-dir:/a b/c.d", "Local-Dir:C:\\x",
    "local-dir:../x#y?z", "local-dir: ",
]  # fmt: skip
REFUSED = ["hf-hub:", "HF_HUB:", "local-dir:", "local_dir:/x", "LOCAL_DIR:/x", "foo:bar",
           "https://host/x", "a/b", "./x", "C:\\x", "C:/x", "\\\\host\\x", "a:b", ":x",
           "5xx:y", "file:/x"]  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_names_are_parsed_as_timms(name):
    assert parse_model_name(name) == timms(name)
    assert split_source(name) == timms(name)


@pytest.mark.parametrize("name", REFUSED)
def test_names_are_refused_as_timms(name):
    with pytest.raises(ValueError, match=r"."):
        timms(name)
    with pytest.raises(ConfigError):
        parse_model_name(name)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("HF_HUB:", ConfigError, "'HF_HUB:' names nothing behind 'hf-hub:'"),
        ("foo:bar", ConfigError, "unknown source 'foo' of model 'foo:bar'; expected one of hf-hub"),
        ("a/b", UnknownModelError, "unknown model 'a/b'; a repository .* 'hf-hub:a/b', a folder "),
        ("C:\\x", UnknownModelError, r"a folder 'local-dir:C:\\x'"),
        ("x\n/y", UnknownModelError, r"unknown model 'x\\n/y'"),
        (Path("res2net50d"), TypeError, "a model's name must be a str, got PosixPath"),
        (None, TypeError, "a model's name must be a str, got NoneType"),
    ],
)
def test_errors_say_what_to_write(name, error, message):
    with pytest.raises(error, match=message):
        parse_model_name(name)


def test_a_path_with_a_colon_has_no_source():
    assert split_source("weights:v2.pth") == (None, "weights:v2.pth")
    assert (HUB, FOLDER) == ("hf-hub", "local-dir")

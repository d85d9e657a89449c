"""A saved folder is read back by this package and by timm: network, weights, images, classes."""

from __future__ import annotations

import json

import pytest
import timm
import torch
from timm import data as timm_data

from r2n_kernels import ConfigError, create_model, from_timm
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.create import save_folder
from r2n_kernels.data import resolve_model_data_config
from r2n_kernels.reference import Res2Net

SMALL = Res2NetConfig((1, 1, 1, 1), planes=(8, 12, 16, 20), num_classes=3)
CHANGES = [
    {},
    {"deep_stem": True, "stem_width": 24, "avg_down": True},
    {"scale": 3, "base_width": 20, "in_chans": 1, "global_pool": "catavgmax"},
    {"cardinality": 2, "num_classes": 0},
]
DESCRIBED = {
    "input_size": (3, 64, 96), "crop_pct": 0.9, "crop_mode": "squash", "interpolation": "bicubic",
    "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "label_names": ("ant", "bee", "cat"),
    "num_classes": 3, "license": "mit",
}  # fmt: skip


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_timm_reads_what_is_saved(tmp_path, randomize, changes):
    config = SMALL.replace(**changes)
    model = from_timm(randomize(Res2Net(config)).eval())
    channels = config.in_chans
    per_channel = {key: DESCRIBED[key][:channels] for key in ("mean", "std")}
    model.pretrained_cfg = {**DESCRIBED, **per_channel}
    save_folder(model, tmp_path / "out")
    name = f"local-dir:{tmp_path / 'out'}"
    ours, theirs = create_model(name, pretrained=True), timm.create_model(name, pretrained=True)
    assert ours.config == config
    expected = {**DESCRIBED, **per_channel, "input_size": (channels, 64, 96)}
    found = resolve_model_data_config(ours)
    assert found == {key: expected[key] for key in found}
    resolved = timm_data.resolve_model_data_config(theirs)
    assert {key: tuple(v) if isinstance(v, list) else v for key, v in resolved.items()} == found
    if config.num_classes == 3:
        assert ours.pretrained_cfg["label_names"] == ["ant", "bee", "cat"]
        assert theirs.pretrained_cfg["label_names"] == ["ant", "bee", "cat"]
    x = torch.randn(2, channels, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs.eval()(x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours(x), model(x), rtol=0, atol=0)


def test_half_precision_is_saved_as_it_was_loaded(tmp_path, randomize):
    reference = randomize(Res2Net(SMALL)).eval()
    save_folder(from_timm(reference, dtype=torch.bfloat16), tmp_path / "out")
    state = create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).state_dict()
    assert all(torch.equal(state[k], v) for k, v in reference.state_dict().items())


def test_nothing_is_replaced(tmp_path):
    model = from_timm(Res2Net(SMALL).eval())
    (tmp_path / "empty").mkdir()
    save_folder(model, tmp_path / "empty")
    assert sorted(path.name for path in (tmp_path / "empty").iterdir()) == [
        "config.json", "model.safetensors",
    ]  # fmt: skip
    (tmp_path / "file").write_text("earlier")
    for taken in ("empty", "file"):
        with pytest.raises(ConfigError, match=f"cannot write .*{taken}: it is there already"):
            save_folder(model, tmp_path / taken)
    with pytest.raises(ConfigError, match=r"no/out: No such file or directory"):
        save_folder(model, tmp_path / "no" / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]


def test_a_checkpoint_of_its_own_is_no_published_one(tmp_path, randomize):
    """Labels of another classifier, and where the weights came from, are left out."""
    model = from_timm(randomize(Res2Net(SMALL)).eval())
    model.pretrained_cfg = {
        "num_classes": 9, "label_names": ["x"] * 9, "hf_hub_id": "a/b", "url": "", "file": "f",
    }  # fmt: skip
    save_folder(model, tmp_path / "out")
    stated = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "label_names" not in stated
    assert stated["pretrained_cfg"] == {"custom_load": False, "num_classes": 3}

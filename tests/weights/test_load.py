"""load_weights of everything but folders and the Hub."""

from __future__ import annotations

import json
import logging
import os
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from r2n_kernels.errors import WeightsError
from r2n_kernels.reference import Res2Net
from r2n_kernels.weights import config_from_timm, load_weights, read_config
from r2n_kernels.weights.files import sha256_of

TORCH_NAMES = ("w.pth", "w.pt", "w.bin", "w.pth.tar", "w.tar", "w.ckpt", "W.PTH")


@pytest.mark.parametrize("name", ["w.safetensors", *TORCH_NAMES])
def test_every_file_format(name, state, tiny, tmp_path, assert_same):
    path = tmp_path / name
    (save_file if name.endswith(".safetensors") else torch.save)(state, path)
    weights = load_weights(path, tiny)
    assert_same(weights.state, state)
    assert weights.sha256 == sha256_of(path)
    line = f"weights from {path}, sha256 {weights.sha256[:12]}, licence not stated"
    assert str(weights) == line


def test_every_architecture_loads_strictly(config, make_state, tmp_path, assert_same):
    state = make_state(config)
    save_file(state, tmp_path / "w.safetensors")
    weights = load_weights(str(tmp_path / "w.safetensors"), config)
    assert_same(weights.state, state)
    Res2Net(config).load_state_dict(weights.state, strict=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(dtype, state, tiny, tmp_path):
    cast = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    save_file(cast, tmp_path / "w.safetensors")
    found = load_weights(tmp_path / "w.safetensors", tiny).state
    assert {t.dtype for t in found.values()} == {torch.float32, torch.int64}
    torch.testing.assert_close(found["fc.weight"], cast["fc.weight"].float(), rtol=0, atol=0)


def test_old_checkpoints_without_counters(state, tiny):
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    found = load_weights(old, tiny).state
    assert list(found) == list(state)
    assert found["bn1.num_batches_tracked"].item() == 0


def test_timm_training_checkpoint(state, tiny, tmp_path, assert_same):
    import argparse

    ema = {f"module.{k}": v for k, v in state.items()}
    raw = {k: torch.zeros_like(v) for k, v in state.items()}
    args = argparse.Namespace(model="res2net50_26w_4s", lr=0.1)
    checkpoint = {"epoch": 3, "arch": "x", "state_dict": raw, "state_dict_ema": ema, "args": args}
    torch.save(checkpoint, tmp_path / "model_best.pth.tar")
    assert_same(load_weights(tmp_path / "model_best.pth.tar", tiny).state, state)


def test_misnamed_file_is_told(state, tiny, tmp_path, assert_same):
    save_file(state, tmp_path / "w.pth")
    weights = load_weights(tmp_path / "w.pth", tiny)
    assert_same(weights.state, state)
    assert str(weights).endswith("; w.pth holds safetensors")


def test_lightning_checkpoint(state, tiny, tmp_path, assert_same):
    """As Trainer.save_checkpoint writes it."""
    network = {f"net.{key}": value for key, value in state.items()}
    metrics = {"train_acc.tp": torch.ones(5), "criterion.weight": torch.ones(5)}
    optimizer = {
        "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(4)}},
        "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0]}],
    }
    callback = {
        "monitor": "val_acc",
        "best_model_score": torch.tensor(0.5),
        "best_k_models": {"epoch=1.ckpt": torch.tensor(0.5)},
        "dirpath": "/logs/version_0",
    }
    progress = {"total": {"ready": 3, "completed": 3}, "current": {"ready": 3, "completed": 3}}
    torch.save(
        {
            "epoch": 3,
            "global_step": 120,
            "pytorch-lightning_version": "2.5.0",
            "state_dict": OrderedDict(network | metrics),
            "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": progress}},
            "callbacks": {"ModelCheckpoint{'monitor': 'val_acc', 'mode': 'max'}": callback},
            "optimizer_states": [optimizer],
            "lr_schedulers": [{"base_lrs": [0.1], "last_epoch": 3, "_last_lr": [0.01]}],
            "MixedPrecision": {"scale": 65536.0, "_growth_tracker": 0},
            "hparams_name": "kwargs",
            "hyper_parameters": {"lr": 0.1, "arch": "res2net50_26w_4s", "net": None},
        },
        tmp_path / "last.ckpt",
    )
    weights = load_weights(tmp_path, tiny)
    assert_same(weights.state, state)
    assert str(weights).endswith(
        "; network under 'net.'; left out train_acc (1 tensor), criterion (1 tensor)"
    )


@pytest.mark.parametrize("prefix", ["timm_model.", ""])
def test_timm_wrapper_folder(prefix, state, tiny, tmp_path, assert_same):
    """What save_pretrained of transformers' TimmWrapperForImageClassification writes."""
    named = {prefix + key: value for key, value in state.items()}
    save_file(named, tmp_path / "model.safetensors", metadata={"format": "pt"})
    written = {
        "architecture": "res2net50_26w_4s",
        "architectures": ["TimmWrapperForImageClassification"],
        "do_pooling": True,
        "dtype": "float32",
        "global_pool": "avg",
        "initializer_range": 0.02,
        "label_names": list("abcde"),
        "model_args": {"layers": [1, 1, 1, 1], "channels": [8, 16, 24, 32], "base_width": 32},
        "model_type": "timm_wrapper",
        "num_classes": 5,
        "num_features": 128,
        "pretrained_cfg": {"input_size": [3, 64, 64], "license": "mit", "num_classes": 1000},
        "problem_type": None,
        "transformers_version": "5.0.0",
    }
    (tmp_path / "config.json").write_text(json.dumps(written))
    config, pretrained, name = config_from_timm(read_config(tmp_path))
    assert (config, name) == (tiny, "res2net50_26w_4s")
    assert pretrained["label_names"] == list("abcde")
    weights = load_weights(tmp_path, config)
    assert_same(weights.state, state)
    assert weights.license == "mit"


def test_live_module_is_copied(tiny, state, assert_same):
    module = Res2Net(tiny)
    module.load_state_dict(state)
    weights = load_weights(module, tiny)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.zero_()
    assert_same(weights.state, state)
    assert str(weights).startswith("weights from a live Res2Net, sha256 ")


def test_state_dict_is_copied(tiny, state, assert_same):
    expected = {k: v.clone() for k, v in state.items()}
    weights = load_weights(state, tiny)
    for tensor in state.values():
        tensor.zero_()
    assert_same(weights.state, expected)


def test_file_may_be_overwritten_after_loading(tiny, state, tmp_path, assert_same):
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    weights = load_weights(path, tiny)
    with path.open("r+b") as file:
        file.write(b"\0" * path.stat().st_size)
    assert_same(weights.state, state)


def test_hash_of_tensors_follows_their_values(tiny, state, make_state):
    same = load_weights(state, tiny).sha256
    shuffled = dict(reversed(list(state.items())))
    assert load_weights(shuffled, tiny).sha256 == same
    assert load_weights(make_state(tiny, seed=1), tiny).sha256 != same


def test_wrapped_modules(tiny, state, assert_same):
    module = Res2Net(tiny)
    module.load_state_dict(state)
    wrapped = torch.nn.DataParallel(torch.compile(module))
    assert_same(load_weights(wrapped, tiny).state, state)
    assert_same(load_weights(wrapped.state_dict(), tiny).state, state)
    average = torch.optim.swa_utils.AveragedModel(module)
    assert_same(load_weights(average.state_dict(), tiny).state, state)


def test_adaptation_on_request_only(tiny, state):
    wanted = tiny.replace(num_classes=3, in_chans=1)
    with pytest.raises(WeightsError, match=r"adapt_in_chans=True.*\(adapt_classifier=True\)"):
        load_weights(state, wanted)
    weights = load_weights(state, wanted, adapt_classifier=True, adapt_in_chans=True)
    Res2Net(wanted).load_state_dict(weights.state, strict=True)
    assert weights.notes == (
        "classifier of 3 classes is untrained (checkpoint was 5)",
        "first convolution adapted from 3 to 1 input channels",
    )
    assert str(weights).endswith("; ".join(weights.notes))


def test_names_of_strangers_never_reach_the_terminal_raw(state, tiny, tmp_path, caplog):
    caplog.set_level(logging.INFO, "r2n_kernels.weights")
    folder = tmp_path / "new\nline\x1b[2J"
    folder.mkdir()
    (folder / "config.json").write_text("{")
    named = {f"n\x1b[1m\n.{key}": value for key, value in state.items()}
    save_file(named | {"loss\r.w": torch.ones(1)}, folder / "w\t.pth")
    weights = load_weights(folder / "w\t.pth", tiny)
    assert str(weights).isprintable()
    assert r"network under 'n\x1b[1m\n.'; left out loss\r (1 tensor)" in str(weights)
    assert len(caplog.messages) == 2
    assert all(message.isprintable() for message in caplog.messages)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04\x1b[2J"),
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
        lambda path: torch.save({"a\x1b": 1}, path),
        lambda path: save_file({"a\x1b\n": torch.ones(1), "layer1.0.\x1b": torch.ones(1)}, path),
    ],
)
def test_errors_escape_names_of_strangers(damage, tiny, tmp_path):
    path = tmp_path / "new\nline\x1b[2J.pth"
    path.touch()
    damage(path)
    with pytest.raises(WeightsError) as caught:
        load_weights(path, tiny)
    assert all(line.isprintable() for line in str(caught.value).split("\n"))


def test_path_with_odd_bytes(state, tiny, tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/w\xff.safetensors"))
    try:
        path.touch()
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    with pytest.raises(WeightsError, match=r"the file is empty"):
        load_weights(path, tiny)


def test_the_classes_of_the_checkpoint(state, tiny):
    fewer = {**state, "fc.weight": state["fc.weight"][:2], "fc.bias": state["fc.bias"][:2]}
    with pytest.raises(WeightsError, match=r"the classifier has 2 classes"):
        load_weights(fewer, tiny)
    assert len(load_weights(fewer, tiny, any_classes=True).state["fc.weight"]) == 2
    headless = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    assert "fc.weight" not in load_weights(headless, tiny, any_classes=True).state
    with pytest.raises(WeightsError, match=r"fc\.bias: expected \(2,\)"):
        load_weights({**fewer, "fc.bias": state["fc.bias"]}, tiny, any_classes=True)
    endless = torch.zeros(1, 1).expand(10**9, state["fc.weight"].shape[1])
    with pytest.raises(WeightsError, match=r"would have \d+ parameters"):
        load_weights({**state, "fc.weight": endless}, tiny, any_classes=True)

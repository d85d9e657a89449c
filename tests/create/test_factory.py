from __future__ import annotations

import inspect
import json
import time

import pytest
import torch
from safetensors.torch import save_file

import r2n_kernels
from r2n_kernels import ConfigError, UnknownModelError, WeightsError
from r2n_kernels.config import VARIANTS
from r2n_kernels.reference import Res2Net

X = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, randomize):
    """A checkpoint folder in timm's format: a small res2net50d with 5 classes."""
    path = tmp_path_factory.mktemp("checkpoint")
    args = {"layers": [1, 1, 1, 1], "channels": [8, 12, 16, 20]}
    cfg = dict(r2n_kernels.config.default_pretrained_cfg("res2net50d"), num_classes=5)
    config = VARIANTS["res2net50d"].replace(
        layers=(1, 1, 1, 1), planes=(8, 12, 16, 20), num_classes=5
    )
    reference = randomize(Res2Net(config)).eval()
    save_file(reference.state_dict(), path / "model.safetensors")
    stated = {
        "architecture": "res2net50d", "num_classes": 5, "model_args": args, "pretrained_cfg": cfg,
    }  # fmt: skip
    (path / "config.json").write_text(json.dumps(stated))
    return path, reference


def close(actual, expected) -> bool:
    return torch.allclose(actual.detach(), expected.detach(), rtol=1e-4, atol=1e-4)


def test_variants_by_name_and_tag():
    model = r2n_kernels.create_model("res2next50.in1k", num_classes=3, in_chans=1)
    assert model.config == VARIANTS["res2next50"].replace(num_classes=3, in_chans=1)
    assert model(X[:, :1]).shape == (2, 3)
    assert model.pretrained_cfg["interpolation"] == "bilinear"
    assert model.num_features == 2048


def test_random_weights_follow_torchs_generator():
    torch.manual_seed(3)
    one = r2n_kernels.create_model("res2net50_26w_4s").state_dict()
    torch.manual_seed(3)
    two = Res2Net(VARIANTS["res2net50_26w_4s"]).state_dict()
    assert all(torch.equal(one[k], two[k]) for k in two)


def test_create_model_is_quick():
    """It takes under 3 s of the CPU: no compile, no tuning. The best of three tries counts."""
    seconds = []
    while not seconds or (seconds[-1] >= 3 and len(seconds) < 3):
        start = time.process_time()
        r2n_kernels.create_model("res2net101_26w_4s")
        seconds.append(time.process_time() - start)
    assert seconds[-1] < 3, seconds


def test_local_folder_by_name(folder):
    path, reference = folder
    for name in (f"local-dir:{path}", f"LOCAL-DIR:{path}"):
        model = r2n_kernels.create_model(name, pretrained=True)
        assert model.config == reference.config
        assert close(model(X), reference(X))
    untrained = r2n_kernels.create_model(f"local-dir:{path}")
    assert not close(untrained(X), reference(X))


@pytest.mark.parametrize("word", ["checkpoint", "checkpoint_path"])
@pytest.mark.parametrize("what", ["folder", "file", "Path"])
def test_checkpoint_takes_its_architecture_from_the_config_beside_it(folder, what, word):
    path, reference = folder
    source = {"folder": str(path), "file": str(path / "model.safetensors"), "Path": path}[what]
    model = r2n_kernels.create_model("res2net50d", **{word: source})
    assert close(model(X), reference(X))
    assert model.pretrained_cfg["num_classes"] == 5


def test_a_checkpoint_wins_over_pretrained(folder, monkeypatch):
    """As in timm, which loads it last; here the other weights are not even fetched."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path, reference = folder
    for word in ("checkpoint", "checkpoint_path"):
        model = r2n_kernels.create_model("res2net50d", pretrained=True, **{word: path})
        assert close(model(X), reference(X))
    with pytest.raises(WeightsError, match=r"fc\.weight"):  # loaded as it is, not adapted
        r2n_kernels.create_model("res2net50d", True, checkpoint_path=path, num_classes=9)


def test_an_empty_checkpoint_path_is_none():
    """timm's scripts have "" as the default of --checkpoint."""
    assert r2n_kernels.create_model("res2net50_48w_2s", checkpoint_path="", cache_dir="")


def test_arguments_come_in_timms_order():
    timm = pytest.importorskip("timm")
    mine, theirs = (
        inspect.signature(f).parameters.values()
        for f in (r2n_kernels.create_model, timm.create_model)
    )
    wanted = [p for p in theirs if p.kind is p.POSITIONAL_OR_KEYWORD]
    ours = [p for p in mine if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in wanted]


def test_shared_arguments_of_from_timm_are_those_of_create_model():
    mine, theirs = (
        inspect.signature(f).parameters for f in (r2n_kernels.create_model, r2n_kernels.from_timm)
    )
    shared = [name for name in theirs if name != "module"]
    assert [name for name in mine if name in theirs] == shared
    for name in shared:
        assert (mine[name].default, mine[name].annotation) == (
            theirs[name].default,
            theirs[name].annotation,
        )


def test_options_of_a_model_are_those_of_its_makers():
    """Three signatures name them, for people and their tools, and must not drift apart."""
    own = inspect.signature(r2n_kernels.Res2NetModel).parameters
    of_weights = ("config", "weights", "pretrained_cfg", "quantization")
    options = [name for name in own if name not in of_weights]
    for maker in (r2n_kernels.create_model, r2n_kernels.from_timm):
        theirs = inspect.signature(maker).parameters
        assert [name for name in theirs if name in options] == options
        assert [theirs[name].default for name in options] == [own[name].default for name in options]


def test_checkpoint_of_another_architecture_is_refused(folder):
    with pytest.raises(ConfigError, match="holds a 'res2net50d', expected a 'res2next50'"):
        r2n_kernels.create_model("res2next50", checkpoint=folder[0])


def test_adapting_the_classifier_is_on_request_only(folder):
    path, reference = folder
    name = f"local-dir:{path}"
    other = r2n_kernels.create_model(name, pretrained=True, num_classes=9)
    assert other(X).shape == (2, 9)
    assert close(other.forward_features(X), reference.forward_features(X))
    headless = r2n_kernels.create_model("res2net50d", checkpoint=path, num_classes=0)
    assert close(headless(X), reference.forward_head(reference.forward_features(X), True))
    with pytest.raises(WeightsError, match=r"fc\.weight"):
        r2n_kernels.create_model("res2net50d", checkpoint=path, num_classes=9)


def test_adapting_the_input_channels_is_on_request_only(folder):
    path, reference = folder
    gray = r2n_kernels.create_model(f"local-dir:{path}", pretrained=True, in_chans=1)
    same = X[:, :1].expand(-1, 3, -1, -1)
    assert close(gray(X[:, :1]), reference(same))
    with pytest.raises(WeightsError, match=r"conv1\.0\.weight"):
        r2n_kernels.create_model("res2net50d", checkpoint=path, in_chans=1)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"model_name": "res2net101_26w_5s"}, UnknownModelError, "nearest: .*res2net101_26w_4s"),
        ({"model_name": "res2net50d.in22k"}, UnknownModelError, "unknown tag 'in22k'"),
        (
            {"model_name": "res2net50d", "backend": "cudnn"},
            ConfigError,
            "expected one of auto, torch",
        ),
        ({"model_name": "res2net50d", "dtype": torch.int8}, ConfigError, "got torch.int8"),
        ({"model_name": "res2net50d", "dtype": torch.float16}, ConfigError, "float16 needs a GPU"),
        (
            {"model_name": "res2net50d", "num_classes": -1},
            ConfigError,
            "num_classes must be 0 or more",
        ),
        ({"model_name": "res2net50d", "in_chans": 0}, ConfigError, "in_chans must be at least 1"),
        (
            {"model_name": "res2net50d", "features_only": True, "out_indices": (5,)},
            ConfigError,
            r"out_indices must lie in -5\.\.4",
        ),
        (
            {"model_name": "res2net50d", "checkpoint_path": "x.pth", "checkpoint": "x.pth"},
            ConfigError,
            "checkpoint and checkpoint_path are the same; pass one of them",
        ),
        ({"model_name": "org/repo"}, UnknownModelError, "would be 'hf-hub:org/repo'"),
        ({"model_name": "hf_hub:"}, ConfigError, "names nothing behind 'hf-hub:'"),
        ({"model_name": "s3:bucket"}, ConfigError, "unknown source 's3' of model 's3:bucket'"),
        ({"model_name": 50}, TypeError, "a model's name must be a str, got int"),
        ({"model_name": "res2net50d", "checkpoint": 3}, TypeError, "os.PathLike object, not int"),
        (
            {"model_name": "res2net50d", "checkpoint": "no/such/file.pth"},
            WeightsError,
            "no/such/file",
        ),
        (
            {"model_name": "res2net50d", "device": "cuda:99"},
            ConfigError,
            "device 'cuda:99' cannot be us",
        ),
        (
            {"model_name": "res2net50d", "device": "tpu"},
            ConfigError,
            "device 'tpu' cannot be used: Expe",
        ),
        (
            {"model_name": "local-dir:no/such/folder"},
            WeightsError,
            "no/such/folder: no such file or",
        ),
    ],
)
def test_wrong_requests_are_named(kwargs, error, message):
    with pytest.raises(error, match=message):
        r2n_kernels.create_model(**kwargs)


def test_a_folder_without_a_config_cannot_name_its_architecture(tmp_path):
    with pytest.raises(ConfigError, match=r"has no config\.json, which names the architecture"):
        r2n_kernels.create_model(f"local-dir:{tmp_path}")


def test_from_timm_copies_weights_and_keeps_timms_settings(randomize):
    timm = pytest.importorskip("timm")
    peer = randomize(timm.create_model("res2net50_48w_2s", num_classes=12, in_chans=4)).eval()
    ours = r2n_kernels.from_timm(peer)
    x = torch.randn(2, 4, 64, 64)
    with torch.no_grad():
        expected = peer(x)
        assert close(ours(x), expected)
        for parameter in peer.parameters():
            parameter.zero_()
        assert close(ours(x), expected)
    assert ours.pretrained_cfg["architecture"] == "res2net50_48w_2s"
    assert r2n_kernels.from_timm(peer.to(torch.bfloat16)).dtype == torch.bfloat16


def test_from_timm_looks_through_wrappers(folder):
    reference = folder[1]
    for wrapped in (torch.nn.DataParallel(reference), torch.compile(reference)):
        assert close(r2n_kernels.from_timm(wrapped)(X), reference(X))


def test_from_timm_refuses_other_networks():
    timm = pytest.importorskip("timm")
    with pytest.raises(ConfigError):
        r2n_kernels.from_timm(timm.create_model("resnet18"))


def test_embeddings_train_a_probe_and_the_backbone_says_no(folder):
    model = r2n_kernels.create_model("res2net50d", checkpoint=folder[0], num_classes=0)
    probe = torch.nn.Linear(model.num_features, 2)
    with torch.no_grad():
        embedding = model(X)
    probe(embedding).sum().backward()
    assert probe.weight.grad is not None


def test_from_timm_builds_one_meta_network_and_hashes_nothing(folder, monkeypatch):
    from r2n_kernels.weights import shapes, sources

    built = []

    def count(config, **place):
        built.append(place)
        return Res2Net(config, **place)

    def refuse(state):
        raise AssertionError("hashed unasked")

    monkeypatch.setattr(shapes, "Res2Net", count)
    monkeypatch.setattr(sources, "hash_tensors", refuse)
    shapes.meta_network.cache_clear()
    _, reference = folder
    models = [r2n_kernels.from_timm(reference) for _ in range(2)]
    assert built == [{"device": "meta", "dtype": torch.float32}]  # once per configuration
    assert all(close(model(X), reference(X)) for model in models)


HARMLESS = {
    "drop_rate": 0.2, "drop_path_rate": 0.1, "drop_block_rate": 0, "zero_init_last": False,
    "exportable": True, "no_jit": True, "scriptable": False, "output_stride": 32,
    "global_pool": None, "features_only": None, "num_classes": None, "act_layer": None,
    "block_args": None, "img_size": None, "out_indices": None,
}  # fmt: skip


def test_options_of_timm_without_effect_here(folder):
    timm = pytest.importorskip("timm")
    name = f"local-dir:{folder[0]}"
    model = r2n_kernels.create_model(name, True, **HARMLESS)
    with torch.no_grad():
        assert close(model(X), timm.create_model(name, True, **HARMLESS).eval()(X))
    assert close(model(X), r2n_kernels.create_model(name, pretrained=True)(X))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"scriptable": True}, ConfigError, r"use torch\.export\.export or torch\.jit\.trace"),
        ({"output_stride": 16}, ConfigError, "output_stride=16 needs dilated"),
        ({"drop_rate": 1.5}, ConfigError, r"drop_rate must lie in 0\.\.1, got 1\.5"),
        ({"drop_path_rate": "0.1"}, TypeError, "drop_path_rate must be a number, got '0.1'"),
        ({"act_layer": "gelu"}, ConfigError, "act_layer changes the network, .* with timm"),
        ({"feature_cls": "dict"}, ConfigError, "feature_cls is not supported: features_only gives"),
        ({"chekpoint": "x"}, TypeError, "argument 'chekpoint'; did you mean 'checkpoint'"),
        ({"pretrained": "imagenet"}, TypeError, "pretrained must be True or False, got 'imagenet'"),
        ({"features_only": "yes"}, TypeError, "features_only must be True or False"),
        ({"out_indices": (1,)}, ConfigError, "out_indices needs features_only=True"),
    ],
)
def test_other_options_of_timm_are_refused_by_name(options, error, message):
    with pytest.raises(error, match=message):
        r2n_kernels.create_model("res2net50d", **options)


@pytest.mark.parametrize("where", ["state_dict", "file"])
def test_an_overlay_names_the_weights_as_in_timm(where, tmp_path, randomize):
    """The idiom of timm's users for a file of their own, and for weights in memory."""
    timm = pytest.importorskip("timm")
    state = randomize(timm.create_model("res2net50_48w_2s", num_classes=7)).state_dict()
    save_file(state, tmp_path / "own.safetensors")
    overlay = {"file": str(tmp_path / "own.safetensors")} if where == "file" else {where: state}
    kwargs = {"pretrained_cfg_overlay": {"num_classes": 7, **overlay}, "in_chans": 1}
    mine = r2n_kernels.create_model("res2net50_48w_2s", True, **kwargs)
    theirs = timm.create_model("res2net50_48w_2s", True, **kwargs).eval()
    with torch.no_grad():
        assert close(mine(X[:, :1]), theirs(X[:, :1]))
    assert mine.num_classes == theirs.num_classes == 7
    assert "state_dict" not in mine.pretrained_cfg


def test_what_is_said_of_the_network_itself_comes_first():
    overlay = {"num_classes": 4, "input_size": [1, 96, 96]}
    model = r2n_kernels.create_model(
        "res2net50_48w_2s", num_classes=2, pretrained_cfg_overlay=overlay
    )
    assert (model.num_classes, model.config.in_chans) == (2, 1)
    assert model.pretrained_cfg == model.default_cfg
    assert (model.pretrained_cfg["num_classes"], model.pretrained_cfg["input_size"]) == (
        4,
        (1, 96, 96),
    )


@pytest.mark.parametrize("features_only", [False, True])
def test_the_cfg_of_a_folder_is_timms(folder, features_only):
    timm = pytest.importorskip("timm")
    name, options = f"local-dir:{folder[0]}", {"features_only": features_only}
    mine = r2n_kernels.create_model(name, **options).pretrained_cfg
    theirs = timm.create_model(name, **options).pretrained_cfg
    lists = {key: tuple(theirs[key]) for key in ("input_size", "mean", "std", "pool_size")}
    assert mine == theirs | lists
    assert ("num_classes" in mine) is not features_only


def test_timms_data_functions_take_our_model(folder):
    data = pytest.importorskip("timm.data")
    from PIL import Image

    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        theirs = timm.create_model("res2net50_48w_2s")
    mine = r2n_kernels.create_model("res2net50_48w_2s")
    for args in ({}, {"input_size": (3, 160, 192)}, {"img_size": 128, "crop_pct": 1.0}):
        config = data.resolve_model_data_config(mine, args)
        assert config == data.resolve_model_data_config(theirs, args)
        assert config == data.resolve_data_config(args, model=mine)
        assert config == r2n_kernels.data.resolve_model_data_config(mine, args)
        image = Image.effect_noise((300, 260), 60).convert("RGB")
        transform, ours = (
            f(**config, is_training=False)
            for f in (data.create_transform, r2n_kernels.data.create_transform)
        )
        assert torch.equal(transform(image), ours(image))


def test_cache_dir_reaches_the_hub(monkeypatch, tmp_path):
    asked = []

    def fetch(repo, filename):
        asked.append((str(repo), repo.cache_dir, filename))
        raise r2n_kernels.HubError("no Hub here")

    monkeypatch.setattr("r2n_kernels.weights.sources.fetch", fetch)
    for name, repo in [
        ("res2net50d", "hf-hub:timm/res2net50d.in1k"),
        ("HF_HUB:org/repo@v1", "hf-hub:org/repo@v1"),
    ]:
        asked.clear()
        with pytest.raises(r2n_kernels.HubError, match="no Hub here"):
            r2n_kernels.create_model(name, pretrained=True, cache_dir=tmp_path)
        assert asked[0][:2] == (repo, str(tmp_path))

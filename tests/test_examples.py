"""The model card's three samples: with only the import changed they give timm's numbers."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from PIL import Image
from timm.models import save_for_hf

HEADLINE = "res2net101_26w_4s"
# The card's own text. Besides the import only the name of the model and the place of the picture
# differ from it, for timm and for us alike: tests have no network.
PREAMBLE = """
from PIL import Image
import timm

img = Image.open(PHOTO)
"""
TRANSFORM = """
# get model specific transforms (normalization, resize)
data_config = timm.data.resolve_model_data_config(model)
transforms = timm.data.create_transform(**data_config, is_training=False)
"""
CLASSIFICATION = f"""
import torch
{PREAMBLE}
model = timm.create_model(NAME, pretrained=True)
model = model.eval()
{TRANSFORM}
output = model(transforms(img).unsqueeze(0))  # unsqueeze single image into batch of 1

top5_probabilities, top5_class_indices = torch.topk(output.softmax(dim=1) * 100, k=5)
"""
FEATURES = f"""
{PREAMBLE}
model = timm.create_model(
    NAME,
    pretrained=True,
    features_only=True,
)
model = model.eval()
{TRANSFORM}
output = model(transforms(img).unsqueeze(0))  # unsqueeze single image into batch of 1
"""
EMBEDDINGS = f"""
{PREAMBLE}
model = timm.create_model(
    NAME,
    pretrained=True,
    num_classes=0,  # remove classifier nn.Linear
)
model = model.eval()
{TRANSFORM}
output = model(transforms(img).unsqueeze(0))  # output is (batch_size, num_features) shaped tensor
direct = output

# or equivalently (without needing to set num_classes=0)

output = model.forward_features(transforms(img).unsqueeze(0))
unpooled = output
# output is unpooled, a (1, 2048, 7, 7) shaped tensor

output = model.forward_head(output, pre_logits=True)
# output is a (1, num_features) shaped tensor
"""


@pytest.fixture(
    scope="module",
    params=["res2net50_26w_4s", pytest.param(HEADLINE, marks=pytest.mark.slow)],
)
def inputs(request, randomize, tmp_path_factory) -> dict[str, str]:
    """A checkpoint in the Hub's format and a photograph, by the names the samples use."""
    datasets = pytest.importorskip("sklearn.datasets")
    folder = tmp_path_factory.mktemp(request.param)
    module = randomize(timm.create_model(f"{request.param}.in1k")).eval()
    save_for_hf(module, str(folder / "model"), safe_serialization=True)
    photo = folder / "china.jpg"
    Image.fromarray(datasets.load_sample_image("china.jpg")).save(photo, quality=95)
    return {"NAME": f"local-dir:{folder / 'model'}", "PHOTO": str(photo)}


def both(sample: str, inputs: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The variables that the sample leaves behind: ours, and timm's."""
    changed = sample.replace("import timm", "import r2n_kernels as timm")
    assert changed != sample
    ours, theirs = dict(inputs), dict(inputs)
    exec(changed, ours)
    exec(sample, theirs)
    assert type(ours["model"]).__module__.startswith("r2n_kernels")
    assert type(theirs["model"]).__module__.startswith("timm")
    return ours, theirs


def test_image_classification(inputs, rel_error):
    ours, theirs = both(CLASSIFICATION, inputs)
    assert torch.equal(ours["transforms"](ours["img"]), theirs["transforms"](theirs["img"]))
    assert ours["output"].shape == (1, 1000)
    assert rel_error(ours["output"], theirs["output"]) <= 1e-5
    assert torch.equal(ours["top5_class_indices"], theirs["top5_class_indices"])
    assert rel_error(ours["top5_probabilities"], theirs["top5_probabilities"]) <= 1e-5


def test_feature_map_extraction(inputs, rel_error):
    ours, theirs = both(FEATURES, inputs)
    assert [tuple(o.shape) for o in ours["output"]] == [
        (1, 64, 112, 112),
        (1, 256, 56, 56),
        (1, 512, 28, 28),
        (1, 1024, 14, 14),
        (1, 2048, 7, 7),
    ]
    for actual, expected in zip(ours["output"], theirs["output"], strict=True):
        assert rel_error(actual, expected) <= 1e-5
    for method in ("channels", "reduction", "module_name"):
        known = [getattr(v["model"].feature_info, method)() for v in (ours, theirs)]
        assert known[0] == known[1]


def test_image_embeddings(inputs, rel_error):
    ours, theirs = both(EMBEDDINGS, inputs)
    assert ours["unpooled"].shape == (1, 2048, 7, 7)
    assert ours["output"].shape == ours["direct"].shape == (1, ours["model"].num_features)
    assert ours["model"].num_features == 2048
    for name in ("direct", "unpooled", "output"):
        assert rel_error(ours[name], theirs[name]) <= 1e-5

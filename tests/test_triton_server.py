"""docs/examples/triton_server, driven as the server does; no Triton Inference Server is here.

The stand-in for its module has the five names that the example uses, with their documented
behaviour: tensors of numpy arrays by name, and responses with outputs or an error.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from r2n_kernels import create_model
from r2n_kernels.cli.bundled import DIGITS
from r2n_kernels.data import create_transform, read_image, resolve_model_data_config

FOLDER = Path(__file__).resolve().parents[1] / "docs/examples/triton_server/res2net"
IMAGES = sorted((DIGITS / "images").glob("*.png"))[:4]


@dataclass
class Tensor:
    called: str
    values: np.ndarray

    def name(self) -> str:
        return self.called

    def as_numpy(self) -> np.ndarray:
        return self.values


@dataclass
class TritonError:
    INVALID_ARG: ClassVar[int] = 3
    text: str
    code: int

    def message(self) -> str:
        return self.text


@dataclass
class InferenceResponse:
    output_tensors: list[Tensor]
    error: TritonError | None = None


def stand_in() -> ModuleType:
    module = ModuleType("triton_python_backend_utils")

    def get_input_tensor_by_name(request: list[Tensor], name: str) -> Tensor | None:
        return next((tensor for tensor in request if tensor.name() == name), None)

    for thing in (Tensor, TritonError, InferenceResponse, get_input_tensor_by_name):
        setattr(module, thing.__name__, thing)
    return module


@pytest.fixture
def make(monkeypatch):
    """`make(topk)`: an initialized model of digits."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", stand_in())
    spec = importlib.util.spec_from_file_location("triton_model", FOLDER / "1" / "model.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "triton_model", module)  # dataclasses and pickles look there
    spec.loader.exec_module(module)
    made = []

    def initialized(topk: int = 2) -> Any:
        parameters = {"model": f"local-dir:{DIGITS}", "dtype": "float32"}
        config = {
            "parameters": {name: {"string_value": value} for name, value in parameters.items()},
            "output": [{"name": "INDEX", "dims": [topk]}],
        }
        model = module.TritonPythonModel()
        made.append(model)
        where = {"model_instance_kind": "CPU", "model_instance_device_id": "0"}
        model.initialize({"model_config": json.dumps(config), **where})
        return model

    yield initialized
    for model in made:
        if hasattr(model, "readers"):
            model.finalize()


def request(*contents: bytes) -> list[Tensor]:
    return [Tensor("IMAGE", np.array(contents, dtype=np.object_).reshape(-1, 1))]


def test_requests_of_a_batch_get_their_own_answers(make):
    contents = [path.read_bytes() for path in IMAGES]
    requests = [request(contents[0]), request(b"no image"), request(*contents[1:3])]
    first, bad, last = make().execute([*requests])
    network = create_model(f"local-dir:{DIGITS}", pretrained=True)
    transform = create_transform(**resolve_model_data_config(network))
    x = torch.stack([transform(read_image(content, "L")) for content in contents[:3]])
    probabilities, classes = network(x).softmax(dim=1).topk(2)
    for response, rows in ((first, slice(0, 1)), (last, slice(1, 3))):
        assert response.error is None
        found = {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors}
        assert found["INDEX"].dtype == np.int32
        assert found["INDEX"].tolist() == classes[rows].tolist()
        assert found["LABEL"].tolist() == [[str(c) for c in row] for row in classes[rows].tolist()]
        np.testing.assert_allclose(found["PROBABILITY"], probabilities[rows], rtol=1e-4, atol=1e-6)
    assert bad.output_tensors == []
    assert (bad.error.code, bad.error.message()) == (
        TritonError.INVALID_ARG,
        "not an image in a known format, or its header is damaged",
    )


def test_a_batch_of_bad_images_alone(make):
    (answer,) = make().execute([request(b"")])
    assert answer.error.message() == "the file is empty"


def test_more_classes_than_there_are(make):
    with pytest.raises(ValueError, match="11 classes are wanted of 10"):
        make(11)


def test_config_names_what_the_model_reads_and_writes():
    text = (FOLDER / "config.pbtxt").read_text()
    names = re.findall(r'name: "([A-Z]+)" data_type: (\w+) dims: \[ (\d+) \]', text)
    five = [("INDEX", "TYPE_INT32", "5"), ("LABEL", "TYPE_STRING", "5")]
    assert names == [("IMAGE", "TYPE_STRING", "1"), *five, ("PROBABILITY", "TYPE_FP32", "5")]
    assert set(re.findall(r'key: "(\w+)"', text)) == {"model", "dtype"}
    assert f'name: "{FOLDER.name}"' in text
    for word in ('backend: "python"', "max_batch_size: 32", "dynamic_batching"):
        assert word in text
    assert text.count("{") == text.count("}")
    assert text.count("[") == text.count("]")

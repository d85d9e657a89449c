"""Triton Inference Server runs this model: image files in, likeliest classes out.

The requests of a batch share one pass of the network. One that holds an image which cannot be read
is answered with an error, and the others are not.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb_utils

from r2n_kernels import ImageError, create_model
from r2n_kernels.data import create_transform, labels_for, read_image, resolve_model_data_config


class TritonPythonModel:
    """The server makes one per instance, and calls it from one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model onto the instance's device."""
        config = json.loads(args["model_config"])
        chosen = {name: value["string_value"] for name, value in config["parameters"].items()}
        on_gpu = args["model_instance_kind"] == "GPU"
        self.model = create_model(
            chosen["model"],
            pretrained=True,
            device=f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu",
            dtype=getattr(torch, chosen["dtype"]),
        )
        self.transform = create_transform(**resolve_model_data_config(self.model))
        labels = labels_for(self.model.pretrained_cfg, self.model.num_classes)
        self.labels = np.array(labels or [""] * self.model.num_classes, dtype=np.object_)
        self.topk = config["output"][0]["dims"][0]
        if self.topk > self.model.num_classes:
            raise ValueError(f"{self.topk} classes are wanted of {self.model.num_classes}")
        self.readers = ThreadPoolExecutor()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request, in their order."""
        contents = [self._contents(request) for request in requests]
        reading = [[self.readers.submit(self._read, one) for one in many] for many in contents]
        images: list[torch.Tensor] = []
        places: list[slice | str] = []  # of a request's images, or what is wrong with one of them
        for futures in reading:
            try:
                found = [future.result() for future in futures]
            except ImageError as error:
                places.append(str(error))
                continue
            places.append(slice(len(images), len(images) + len(found)))
            images += found
        top = self._top(images) if images else ()
        return [self._response(place, top) for place in places]

    def finalize(self) -> None:
        """End the threads."""
        self.readers.shutdown()

    def _contents(self, request: Any) -> list[bytes]:
        tensor = pb_utils.get_input_tensor_by_name(request, "IMAGE")
        return list(tensor.as_numpy().reshape(-1))

    def _read(self, content: bytes) -> torch.Tensor:
        return self.transform(read_image(content, self.transform.mode))

    @torch.no_grad()
    def _top(self, images: list[torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
        x = torch.stack(images).to(self.model.device, self.model.dtype)
        probabilities, classes = self.model(x).float().softmax(dim=1).topk(self.topk)
        return probabilities.cpu().numpy(), classes.int().cpu().numpy()

    def _response(self, place: slice | str, top: tuple[np.ndarray, ...]) -> Any:
        if isinstance(place, str):
            error = pb_utils.TritonError(place, pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(output_tensors=[], error=error)
        probabilities, classes = (values[place] for values in top)
        outputs = {"INDEX": classes, "LABEL": self.labels[classes], "PROBABILITY": probabilities}
        return pb_utils.InferenceResponse(
            output_tensors=[pb_utils.Tensor(name, values) for name, values in outputs.items()]
        )

"""The model that the arguments describe, with its weights."""

from __future__ import annotations

import argparse
import os
from typing import Any

from ..create import create_model
from ..errors import ConfigError, HubError, UnknownModelError
from ..model import Res2NetModel
from ..weights.hub import HubUnreachable
from .bundled import expand
from .options import precision_from


def model_from(args: argparse.Namespace, **kwargs: Any) -> Res2NetModel:
    """Build the model; `kwargs` are create_model's. Raises its errors, in terms of the options."""
    dtype, device = precision_from(args)
    try:
        return create_model(
            expand(args.model),
            pretrained=args.weights is None,
            checkpoint=args.weights,
            backend=args.backend,
            dtype=dtype,
            device=device,
            **kwargs,
        )
    except UnknownModelError as error:
        if os.path.exists(args.model):
            hint = f"for a folder write --model local-dir:{args.model}, for a file --weights"
            raise ConfigError(f"unknown model '{args.model}'; {hint}") from error
        raise
    except HubUnreachable as error:
        raise HubError(f"{error} (--weights PATH)") from error

"""Options of timm's create_model: harmless ones pass, the others are refused by name."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from timm.models.resnet import ResNet

from r2n_kernels import ConfigError, create_model
from r2n_kernels.create.timm_options import (
    check_flags,
    check_output_stride,
    check_rates,
    refuse_others,
    refuse_scripting,
)


def test_every_argument_of_timms_network_is_known():
    """Each is an argument of create_model, or refused as one that changes the network."""
    accepted = inspect.signature(create_model).parameters
    for name in set(inspect.signature(ResNet).parameters) - set(accepted):
        with pytest.raises(ConfigError, match=f"{name} changes the network"):
            refuse_others({name: 1}, accepted)


@pytest.mark.parametrize("name", ["feature_cls", "pretrained_strict", "pretrained_filter_fn"])
def test_others_of_timms_are_refused_with_a_reason(name):
    with pytest.raises(ConfigError, match=f"{name} is not supported: .{{20}}"):
        refuse_others({name: False}, [])


def test_unknown_ones_are_type_errors_as_in_python():
    with pytest.raises(TypeError, match="unexpected keyword argument 'num_clases'; did you mean"):
        refuse_others({"num_clases": 3}, ["num_classes", "in_chans"])
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'qqq'$"):
        refuse_others({"qqq": 3}, ["num_classes", "in_chans"])


def test_none_is_ignored_as_in_timm():
    refuse_others({"num_clases": None, "act_layer": None, "feature_cls": None}, [])


def test_flags():
    check_flags(a=True, b=False, c=None, d=np.True_, e=0)
    with pytest.raises(TypeError, match="b must be True or False, got 'yes'"):
        check_flags(a=True, b="yes")
    with pytest.raises(TypeError, match="a must be True or False, got 2"):
        check_flags(a=2)


def test_rates():
    check_rates(a=0, b=1, c=0.5, d=None, e=np.float32(0.25))
    for value in (-0.1, 1.01, float("nan"), float("inf"), 10**400):
        with pytest.raises(ConfigError, match=r"a must lie in 0\.\.1, got"):
            check_rates(a=value)
    for value in (True, "0.1", [0.1]):
        with pytest.raises(TypeError, match="a must be a number, got"):
            check_rates(a=value)


def test_output_stride():
    check_output_stride(None)
    check_output_stride(32)
    for value in (16, 8, "32"):
        with pytest.raises(ConfigError, match=r"output_stride=.* dilated .* expected 32"):
            check_output_stride(value)


def test_scripting():
    refuse_scripting(None)
    refuse_scripting(False)
    with pytest.raises(ConfigError, match=r"torch\.export\.export or torch\.jit\.trace"):
        refuse_scripting(True)

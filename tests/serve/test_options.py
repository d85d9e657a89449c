from __future__ import annotations

import pytest

from r2n_kernels.errors import ConfigError
from r2n_kernels.serve.options import Options


def test_places():
    assert Options(max_batch=4, workers=2).places == 64
    assert Options(max_waiting=3).places == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_batch": 0}, "max_batch must be at least 1, got 0"),
        ({"max_waiting": 0}, "max_waiting must be at least 1, got 0"),
        ({"max_pixels": 0}, "max_pixels must be at least 1, got 0"),
        ({"image_seconds": 0}, "image_seconds must be more than 0, got 0"),
        ({"port": 65536}, "port must be 0 to 65535, got 65536"),
        ({"timeout_ms": -1}, "timeout_ms must be 0 to request_seconds"),
        ({"timeout_ms": 2000, "request_seconds": 1}, "timeout_ms must be .* got 2000 ms"),
    ],
)
def test_what_cannot_be(options, said):
    with pytest.raises(ConfigError, match=said):
        Options(**options)

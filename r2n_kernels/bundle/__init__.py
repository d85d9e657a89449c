"""A bundle holds a network compiled once: code, launches, weights and their proof, in one file.

`file` is its bytes, `manifest` what they mean, `codec` plans as data, `source` an opened bundle,
`ops` binds stored launches to tensors, `driver` runs them through CUDA's driver, `backend` is the
engine's `Backend` of one. None of them needs Triton.
"""

from .source import Bundle, open_bundle

__all__ = ["Bundle", "open_bundle"]

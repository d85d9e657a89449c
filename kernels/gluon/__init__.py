"""These kernels are written in Gluon: with layouts and shared memory in the open.

Only Triton from `versions.GLUON` on compiles them, and its interpreter does not run them.
"""

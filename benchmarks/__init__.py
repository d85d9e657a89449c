"""Benchmarks of r2n_kernels: one timer, subjects interleaved, medians."""

if __name__ == "benchmarks":
    raise ImportError("import r2n_kernels.benchmarks: a second copy would load under a bare name")

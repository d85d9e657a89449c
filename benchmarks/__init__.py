"""The benchmarks of r2n_kernels have one timer, interleave their subjects and report medians."""

if __name__ == "benchmarks":
    raise ImportError("import r2n_kernels.benchmarks: a second copy would load under a bare name")

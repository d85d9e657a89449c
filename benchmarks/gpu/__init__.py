"""`bash benchmarks/gpu/run.sh` measures on a machine with a GPU; CONTRIBUTING.md says how.

`main`, `day`, `place`, `section`, `runner`, `process`, `folder`, `summary`, `timings` and `install`
use nothing but Python's own library: they work before the package is installed, and whatever fails
later. The other files are what sections run, each in its process.
"""

"""`python -m r2n_kernels.cli` runs the command r2n of this interpreter."""

import sys

from . import main

sys.exit(main())

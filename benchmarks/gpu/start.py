"""Starts the runner from a checkout, before anything is installed."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from gpu.main import main

    sys.exit(main())

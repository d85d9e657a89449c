#!/usr/bin/env bash
# Everything that a machine with an NVIDIA GPU can tell in eight minutes, most important first.
#   OUT=folder        where results go (default: gpu_day)
#   DEADLINE=330      seconds in all (default: 470)
#   ONLY='bench|steps'    only these sections: a regular expression of whole names
#   DRY=1             on the CPU, everything tiny: is the script sound?
#   NOINSTALL=1       links instead of `pip install`
#   PYTHON=python3.12
# exit codes: 0 all well; 1 a section failed; 2 nothing could be run; 128 + n stopped by signal n
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-$(command -v python3 || command -v python || true)}
if [ -z "$python" ]; then
  echo "there is no python3 on the path; name one: PYTHON=/path/to/python bash $0" >&2
  exit 2
fi
start='import sys; sys.path.insert(0, sys.argv[1]); from gpu.main import main; sys.exit(main())'
exec "$python" -c "$start" "${here%/*}"  # nothing is installed yet

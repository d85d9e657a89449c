"""A process that compiles: pickled (function, argument) on standard input, answers on output.

The environment of its parent decides nothing here but what Triton reads; see pool.py.
"""

from __future__ import annotations

import os
import pickle
import sys


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what compilers print must not mix with the answers
    while True:
        try:
            function, argument = pickle.load(sys.stdin.buffer)
        except EOFError:  # the parent is done, or gone
            return
        try:
            answer = (True, function(argument))
        except Exception as error:  # noqa: BLE001  whatever a compiler raises is the answer
            answer = (False, f"{type(error).__name__}: {error}")
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()

"""Runs the suite the way `make test` and CI do: finds the second llama.cpp build, then calls pytest.

With CI=true a missing second build is a failure, not a skip: what an issue asks for must run there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

SECOND = Path(__file__).resolve().parent.parent / ".cache" / "llama-second" / "lib"


def main() -> int:
    if SECOND.is_dir() and "MODKIT_TEST_LLAMA" not in os.environ:
        os.environ["MODKIT_TEST_LLAMA"] = str(SECOND)
    if os.environ.get("CI") and "MODKIT_TEST_LLAMA" not in os.environ:
        print("the second llama.cpp build is missing, and CI must not go without it (tests/second_llama.sh)")
        return 1
    return int(pytest.main(sys.argv[1:]))


if __name__ == "__main__":
    raise SystemExit(main())

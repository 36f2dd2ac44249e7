"""Runs the suite the way `make test` and CI do: finds the other llama.cpp builds and the embedder's wheel,
then calls pytest.

With CI=true a missing one is a failure, not a skip: what an issue asks for must run there.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest

SECOND = Path(__file__).resolve().parent.parent / ".cache" / "llama-second" / "lib"

VULKAN = SECOND.parents[1] / "llama-vulkan" / "lib"
WHEELS = SECOND.parents[1] / "embedder"


def main() -> int:
    if SECOND.is_dir() and "MODKIT_TEST_LLAMA" not in os.environ:
        os.environ["MODKIT_TEST_LLAMA"] = str(SECOND)
    if os.environ.get("CI") and "MODKIT_TEST_LLAMA" not in os.environ:
        print("the second llama.cpp build is missing, and CI must not go without it (tests/second_llama.sh)")
        return 1
    if VULKAN.is_dir():
        os.environ.setdefault("MODKIT_TEST_VULKAN", str(VULKAN))
    if os.environ.get("CI") and "MODKIT_TEST_VULKAN" not in os.environ and platform.machine() == "x86_64":
        print("the Vulkan build of llama.cpp is missing, and CI must not go without it (tests/second_llama.sh)")
        return 1
    for wheel in WHEELS.glob("*.whl"):
        os.environ.setdefault("MODKIT_TEST_EMBEDDER", str(wheel))
    if os.environ.get("CI") and "MODKIT_TEST_EMBEDDER" not in os.environ:
        print("the embedder's wheel is missing, and CI must not go without it (the Makefile fetches it)")
        return 1
    return int(pytest.main(sys.argv[1:]))


if __name__ == "__main__":
    raise SystemExit(main())

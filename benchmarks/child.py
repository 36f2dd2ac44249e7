"""A measurement in a process of its own: what it says as JSON in the last line of its stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["ChildFailed", "measured"]

ROOT = Path(__file__).resolve().parent.parent


class ChildFailed(RuntimeError):
    """The process could not be started, took too long, or ended with an error: with the end of what it said."""


def measured(module: str, *arguments: object, python: str | None = None, limit: float = 900) -> Any:
    """What `python -m module arguments` found, under this Python or another, in `limit` seconds. Raises ChildFailed."""
    command = [python or sys.executable, "-m", module, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ChildFailed(f"{module}: {type(error).__name__}") from error
    if done.returncode != 0:
        raise ChildFailed(done.stderr.strip()[-3000:] or f"exit code {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])

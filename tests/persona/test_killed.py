"""kill -9 at random moments of build, say and save: files are whole, and every committed turn is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("MODKIT_TEST_KILLS", "200"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this test forks")
def test_a_kill_at_any_moment_leaves_whole_files_and_every_committed_turn(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.persona.killed", str(tmp_path), str(KILLS), "17"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert sum(kind["kills"] for kind in result.values()) == KILLS
    assert result["say"]["last"] > 0 and result["save"]["last"] > 0

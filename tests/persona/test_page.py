"""docs/personas.md is true: its commands and its Python run, in order, from the root of the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", (ROOT / "docs/personas.md").read_text(encoding="utf-8"), re.S | re.M)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the demo's dump, so that what the page writes into out/ does not land in the checkout."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(ROOT / "examples" / "npc_character" / "dump", folder / "examples" / "npc_character" / "dump")
    shutil.copy(ROOT / "examples" / "npc_character" / "card.txt", folder / "examples" / "npc_character")
    (folder / "bin").mkdir()
    command = folder / "bin" / "modkit"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m modkit "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    return folder


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_page_runs(room: Path, number: int) -> None:
    language, code = BLOCKS[number]
    command = ["sh", "-e", "-c", code] if language == "sh" else [sys.executable, "-W", "error", "-c", code]
    path = f"{room / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=room, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout or language == "sh"


def test_the_page_has_its_blocks() -> None:
    assert [language for language, _ in BLOCKS].count("python") >= 4
    assert [language for language, _ in BLOCKS].count("sh") >= 3

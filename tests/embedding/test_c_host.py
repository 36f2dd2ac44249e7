"""A program in C with Python inside: Sable speaks while it draws, from its first thread and from another."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.embedding.conftest import MODEL, MODS, WORDS

SOURCE = Path(__file__).with_name("game.c")


def flags() -> list[str]:
    """What `python3-config --embed` would say, for the Python that runs the tests."""
    libraries = [sysconfig.get_config_var(name) or "" for name in ("LIBDIR", "LIBPL")]
    version = sysconfig.get_config_var("LDVERSION") or sysconfig.get_python_version()
    found = [f"-I{sysconfig.get_path('include')}", f"-I{sysconfig.get_path('platinclude')}"]
    found += [flag for folder in libraries if folder for flag in (f"-L{folder}", f"-Wl,-rpath,{folder}")]
    system = f"{sysconfig.get_config_var('LIBS') or ''} {sysconfig.get_config_var('SYSLIBS') or ''}"
    return [*found, "-Wl,-E", f"-lpython{version}", *system.split(), "-lpthread"]


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if sys.platform != "linux":
        pytest.skip("the C program uses Linux's clock and linker flags")
    if shutil.which("gcc") is None or not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        pytest.skip("needs gcc and Python.h: apt-get install gcc libc6-dev python3-dev")
    program = tmp_path_factory.mktemp("game") / "game"
    command = ["gcc", "-O1", "-g", "-Wall", "-Wextra", "-Werror", str(SOURCE), "-o", str(program), *flags()]
    made = subprocess.run(command, capture_output=True, text=True)
    if "cannot find -lpython" in made.stderr:
        pytest.skip("this Python has no library to link a game with: apt-get install python3-dev")
    assert made.returncode == 0, made.stderr
    return program


@pytest.mark.parametrize("thread", ["main", "foreign"])
def test_sable_speaks_in_a_c_program(
    game: Path, thread: str, sable: Path, plain_folder: Path, search_paths: str, tmp_path: Path
) -> None:
    command = [str(game), thread, str(plain_folder), search_paths, str(MODEL), str(sable), str(MODS), WORDS]
    known = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=tmp_path, env=known, capture_output=True, text=True, timeout=180)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    figures, _, said = done.stdout.partition("\n")
    counted = json.loads(figures)
    assert counted["answered"] == 1 and counted["frames"] > counted["frames_before_words"] > 0
    assert len(said.split()) >= 2, "what Sable said"
    assert list(tmp_path.iterdir()) == [], "nothing is left in the folder the game was started from"

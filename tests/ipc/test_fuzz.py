"""A share of the fuzz in every run; the million is `python -m tests.ipc.fuzz serve --frames 1000000`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ipc import fuzz

FRAMES = 12_000
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_the_server_answers_or_closes_and_nobody_else_notices(tmp_path: Path) -> None:
    assert fuzz.fuzz_server(FRAMES, 20_26, tmp_path)


def test_a_client_gives_up_or_goes_on() -> None:
    assert fuzz.fuzz_decoder(FRAMES, 7)
    assert fuzz.fuzz_python_client(FRAMES, 7)


def test_the_lua_client_gives_up_or_goes_on(tmp_path: Path) -> None:
    found = shutil.which("luajit") or shutil.which("lua5.4")
    if found is None:
        pytest.skip("no Lua is installed")
    import random

    chance = random.Random(9)
    frames = [fuzz.frame(chance, fuzz.event_body(chance)) for _ in range(FRAMES)]
    with (tmp_path / "frames.bin").open("wb") as file:
        for data, _ in frames:
            file.write(len(data).to_bytes(4, "big") + data)
    script = [found, str(Path(__file__).parent / "fuzz.lua"), str(ROOT / "examples" / "clients" / "lua")]
    done = subprocess.run([*script, str(tmp_path / "frames.bin")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    looked_at, given_up = map(int, done.stdout.split())
    assert looked_at == FRAMES
    assert given_up > FRAMES // 10

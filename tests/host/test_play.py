"""`modkit play` runs a folder of mods without a game, and tells what they emit and what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modkit.errors import ModError, OptionError
from modkit.host.play import run_headless

WriteMod = Callable[..., Path]


def test_it_tells_what_mods_emit_and_which_do_not_run(write_mod: WriteMod, mods: Path) -> None:
    write_mod("hello", '@on("ready")\ndef r(mod, event):\n    mod.emit("greeting", text="Good evening.")\n')
    write_mod("broken", "def f(:")
    write_mod("weak", '@on("tick")\ndef tick(mod, event):\n    raise ValueError("again")\n')
    lines: list[str] = []
    report = run_headless(mods, seconds=0.5, fps=1e6, say=lines.append)
    assert "broken" in lines[0] and "line 2" in lines[0]
    assert lines[1] == "hello: greeting text='Good evening.'"
    assert "'weak' is suspended" in lines[2]
    assert {name: entry.state for name, entry in report.items()} == {
        "broken": "refused",
        "hello": "running",
        "weak": "suspended",
    }


def test_it_stops_when_a_player_presses_ctrl_c(write_mod: WriteMod, mods: Path) -> None:
    write_mod(
        "stop",
        '@on("tick")\ndef tick(mod, event):\n    if mod.frame == 5:\n        raise KeyboardInterrupt\n',
    )
    assert run_headless(mods, fps=1000)["stop"].calls == 4, "the fifth was interrupted"


def test_wrong_arguments_are_named(mods: Path) -> None:
    with pytest.raises(ModError, match="not a folder"):
        run_headless(mods / "nowhere", seconds=0)
    with pytest.raises(OptionError, match="fps"):
        run_headless(mods, seconds=0, fps=0)

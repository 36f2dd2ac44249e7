"""`modkit play`: a headless host for mod authors. It runs a folder of mods in real time, without a game."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modkit.errors import OptionError
from modkit.host.console import Console
from modkit.host.host import Host

if TYPE_CHECKING:
    from modkit.host.events import Event
    from modkit.host.report import ModReport

__all__ = ["run_headless"]

_log = logging.getLogger("modkit.host")


def run_headless(
    mods_dir: str | Path,
    seconds: float | None = None,
    model: str | Path | None = None,
    save: str | Path | None = None,
    *,
    fps: float = 60.0,
    say: Callable[[str], None] = _log.info,
    watch: bool = False,
    commands: Iterable[str] | None = None,
    allow_eval: bool = False,
    engine_options: Mapping[str, Any] | None = None,
) -> dict[str, ModReport]:
    """Run the mods for `seconds` of real time (None: until Ctrl-C) at `fps` frames a second; return the final
    report.

    `model` is a GGUF for the NPCs, run with `engine_options`; `.persona` files in the mods' folders find it. `say`
    gets one line for each event that a mod emits and for each mod that does not run (default: the log). `watch`
    reloads a mod when its files change. `commands` are lines for the console, such as `sys.stdin`; they are read on
    a thread of their own, and may use `eval` with `allow_eval`. Raises `ModError` when `mods_dir` is not a folder,
    and what the engine raises for a bad model.
    """
    if not fps > 0:
        raise OptionError(f"fps must be more than 0, not {fps!r}.")
    engine = None
    if model is not None:
        from modkit.engine import Engine

        engine = Engine(model, **(engine_options or {}))
    try:
        with Host(mods_dir, engine=engine, save=save, watch=watch) as host:
            host.subscribe("*", lambda event: say(_line(event)))
            _tell_problems(host, say)
            lines = _read(commands) if commands is not None else None
            console = Console(host, allow_eval=allow_eval)
            with contextlib.suppress(KeyboardInterrupt):
                _run(host, seconds, 1 / fps, lambda: _obey(console, lines, say))
            _tell_problems(host, say, state="suspended")
            return host.report
    finally:
        if engine is not None:
            engine.close()


def _read(commands: Iterable[str]) -> deque[str]:
    lines: deque[str] = deque()
    threading.Thread(target=lambda: lines.extend(commands), name="modkit-console", daemon=True).start()
    return lines


def _obey(console: Console, lines: deque[str] | None, say: Callable[[str], None]) -> None:
    while lines:
        answer = console.run(lines.popleft())
        if answer:
            say(answer)


def _run(host: Host, seconds: float | None, frame: float, between: Callable[[], None]) -> None:
    start = previous = time.monotonic()
    while seconds is None or previous - start < seconds:
        now = time.monotonic()
        between()
        host.tick(now - previous)
        previous = now
        time.sleep(max(0.0, now + frame - time.monotonic()))


def _tell_problems(host: Host, say: Callable[[str], None], state: str = "refused") -> None:
    for report in host.report.values():
        if report.state == state and report.problem:
            say(report.problem)


def _line(event: Event) -> str:
    fields = "".join(f" {key}={value!r}" for key, value in event.fields.items())
    return f"{event.source}: {event.name}{fields}"

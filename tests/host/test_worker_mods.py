"""A mod in a process of its own: the same script, answers that are never waited for, and a sure stop."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modkit.errors import OptionError
from modkit.host import Host, worker_mods
from modkit.host.worker_wire import plain
from modkit.testing import FakeEngine
from tests.host.test_coroutines import Talker

WriteMod = Callable[..., Path]

GUEST = """
    count = 0

    @on("count")
    def counts(mod, event):
        global count
        count += 1
        mod.storage["n"] = event.n
        mod.emit("counted", n=event.n, count=count, by=event.source, has_junk="junk" in event.fields)

    @on("talk")
    async def talk(mod, event):
        async for words in mod.npc("sable").say(event.text, temperature=0.5):
            mod.emit("word", text=words)
        mod.emit("slept", at=mod.time)
        await seconds(0.2)
        mod.emit("woke", at=mod.time)
        mod.log.warning("A line from %s", mod.id)

    @on("ask")
    def ask(mod, event):
        import os
        mod.emit("asked", pid=os.getpid(), settings=dict(mod.settings), storage=dict(mod.storage))

    @on("setting")
    def changed(mod, event):
        mod.emit("changed", key=event.key, value=event.value)

    @save
    def keep(mod):
        return count

    @restore
    def bring_back(mod, state, version):
        global count
        count = state
    """


def manifest(ident: str, more: str = "") -> str:
    return f'id = "{ident}"\nrun = "worker"\n{more}'


SETTING = '[settings.volume]\ntype = "int"\ndefault = 3\n'


class Game:
    """A host and what its mods emitted; `until` ticks in real time until something came."""

    def __init__(self, mods: Path, **options: Any) -> None:
        self.host = Host(mods, **{"worker_ms": 30_000, **options})  # nobody is slow here but who means to be
        self.heard: list[tuple[Any, ...]] = []
        self.host.subscribe("*", lambda event: self.heard.append((event.name, *event.fields.values())))

    def until(self, condition: Callable[[], Any], dt: float = 0.01) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, (self.heard[-5:], self.host.report)
            self.host.tick(dt)
            time.sleep(0.001)

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [entry[1:] for entry in self.heard if entry[0] == name]


@pytest.fixture
def start(mods: Path) -> Iterator[Callable[..., Game]]:
    games: list[Game] = []

    def make(**options: Any) -> Game:
        games.append(Game(mods, **options))
        return games[-1]

    yield make
    for game in games:
        game.host.close()


def test_the_same_script_runs_in_a_process_of_its_own(
    write_mod: WriteMod, start: Callable[..., Game], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_mod("guest", GUEST, toml=manifest("guest", SETTING))
    engine = FakeEngine(["The lamp is lit."])
    game = start(engine=engine, save=tmp_path / "a.save", settings={"guest": {"volume": 5}})
    game.host.add_npc("sable", Talker(engine))
    for n in range(5):
        game.host.emit("count", n=n, junk=object())
        game.host.tick(0.01)  # its process is only starting: nobody waits, and nothing is lost
    game.until(lambda: len(game.named("counted")) == 5)
    assert game.named("counted") == [(n, n + 1, None, False) for n in range(5)]
    game.host.emit("talk", text="Hello?")
    game.until(lambda: game.named("woke"))
    assert "".join(text for (text,) in game.named("word")) == "The lamp is lit."
    assert game.named("woke")[0][0] - game.named("slept")[0][0] == pytest.approx(0.2, abs=0.15)
    assert engine.requests[0].text == "Hello?" and engine.requests[0].options["temperature"] == 0.5
    game.host.set("guest", "volume", 7)
    game.until(lambda: game.named("changed"))
    game.host.emit("ask")
    game.until(lambda: game.named("asked"))
    ((pid, settings, storage),) = game.named("asked")
    assert pid != os.getpid() and settings == {"volume": 7} and storage == {"n": 4}
    game.until(lambda: "A line from guest" in caplog.text)
    report = game.host.report["guest"]
    assert (report.state, report.failures) == ("running", 0) and report.calls > 8
    game.host.close()
    again = start(save=tmp_path / "a.save")
    again.host.emit("count", n=9)
    again.until(lambda: again.named("counted"))
    assert again.named("counted") == [(9, 6, None, False)], "what @save kept came back"


@pytest.mark.parametrize("crime", ["while True:\n        pass", "__import__('time').sleep(1000)"])
def test_what_does_not_come_back_is_ended_started_again_and_at_last_suspended(
    write_mod: WriteMod, start: Callable[..., Game], monkeypatch: pytest.MonkeyPatch, crime: str
) -> None:
    monkeypatch.setattr(worker_mods, "_ENDS", 2)
    write_mod("hung", f'@on("go")\ndef go(mod, e):\n    {crime}\n', toml=manifest("hung"))
    write_mod("good", '@on("tick")\ndef tick(mod, e):\n    mod.emit("beat")\n')
    game = start(worker_ms=100)
    game.host.emit("go")
    game.until(lambda: game.host.report["hung"].notice)
    assert "did not come back within 100 ms" in (game.host.report["hung"].notice or "")
    game.host.emit("go")
    game.until(lambda: game.host.report["hung"].state == "suspended")
    problem = game.host.report["hung"].problem or ""
    assert "ended 2 times" in problem and "host.resume('hung')" in problem
    assert len(game.named("beat")) == game.host.frame, "the frame went on"


def test_a_process_that_dies_starts_again_with_what_was_kept(
    write_mod: WriteMod, start: Callable[..., Game]
) -> None:
    write_mod("guest", GUEST, toml=manifest("guest"))
    game = start()
    game.host.emit("count", n=1)
    game.host.emit("ask")
    game.until(lambda: game.named("asked"))
    game.host.save()
    game.until(lambda: game.host._saves.state("guest"))
    pid = game.named("asked")[0][0]
    os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    game.until(lambda: game.host.report["guest"].notice)
    game.heard.clear()
    game.host.emit("ask")
    game.host.emit("count", n=2)
    game.until(lambda: game.named("counted"))
    assert game.named("asked")[0][0] != pid and game.named("asked")[0][2] == {"n": 1}
    assert game.named("counted") == [(2, 2, None, False)]


def test_what_fails_there_is_reported_here(write_mod: WriteMod, start: Callable[..., Game]) -> None:
    write_mod("bad", '@on("go")\ndef go(mod, e):\n    raise ValueError("over there")\n', toml=manifest("bad"))
    write_mod("worse", "1 / 0", toml=manifest("worse"))
    write_mod("offers", '@on("ready")\ndef r(mod, e):\n    mod.npc("sable").transcript\n', toml=manifest("offers"))
    game = start()
    game.host.emit("go")
    game.until(lambda: game.host.report["bad"].failures)
    assert "over there" in (game.host.report["bad"].last_error or "")
    game.until(lambda: game.host.report["worse"].state == "suspended")
    assert "ZeroDivisionError" in (game.host.report["worse"].problem or "")
    game.until(lambda: game.host.report["offers"].failures)
    assert "is in the game's process" in (game.host.report["offers"].last_error or "")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are the system's")
def test_memory_is_limited(write_mod: WriteMod, start: Callable[..., Game]) -> None:
    beats = '@on("tick")\ndef t(mod, e):\n    mod.emit("beat")\n'
    hoards = '@on("go")\ndef go(mod, e):\n    big = [None] * (1 << 28)\n'
    write_mod("hoards", hoards + beats, toml=manifest("hoards"))
    game = start(worker_mb=600)
    game.host.emit("go")
    game.until(lambda: game.host.report["hoards"].failures and len(game.named("beat")) > 2)
    assert "MemoryError" in (game.host.report["hoards"].last_error or "")


FORGERS = {
    "garbage": "os.write(fd, b'\\xff' * 64)",
    "unknown": "os.write(fd, frame([3, 'format_disk', {}]))",
    "request": "os.write(fd, frame([0, 1, 'hello', {}]))",
    "lifecycle": "os.write(fd, frame([3, 'emitted', {'events': [['tick', {'dt': 1}]]}]))",
    "shapes": "os.write(fd, frame([3, 'keep', {'values': {'a': 7}}]))",
    "action": "os.write(fd, frame([3, 'action', {'n': 1, 'npc': 'sable', 'name': 'x', 'does': 'y', 'parameters': 3}]))",
    "method": "os.write(fd, frame([3, 'npc', {'npc': 'sable', 'method': 'close', 'arguments': [], 'options': {}}]))",
    "answer": "os.write(fd, frame([3, 'answer', {'id': 'x'}]))",
    "missing": "os.write(fd, frame([3, 'done', {}]))",
}


@pytest.mark.skipif(sys.platform == "win32", reason="looks for the pipe among its descriptors")
@pytest.mark.parametrize("forgery", FORGERS)
def test_a_process_that_sends_something_else_is_ended(
    write_mod: WriteMod, start: Callable[..., Game], forgery: str
) -> None:
    write_mod(
        "forger",
        f"""
        import os, stat, struct, msgpack

        def frame(message):
            body = msgpack.packb(message)
            return struct.pack(">I", len(body)) + body

        @on("go")
        def go(mod, event):
            for fd in range(3, 20):
                try:
                    if stat.S_ISFIFO(os.fstat(fd).st_mode):
                        {FORGERS[forgery]}
                except OSError:
                    pass
        """,
        toml=manifest("forger"),
    )
    write_mod("good", '@on("tick")\ndef tick(mod, e):\n    mod.emit("beat")\n')
    game = start()
    game.host.emit("go")
    game.until(lambda: game.host.report["forger"].notice)
    assert "not of the protocol" in (game.host.report["forger"].notice or "")
    assert len(game.named("beat")) == game.host.frame


def test_it_is_reloaded_and_unloaded_like_any_other(write_mod: WriteMod, start: Callable[..., Game]) -> None:
    script = '@on("ask")\ndef ask(mod, e):\n    mod.emit("version", n={})\n@save\ndef s(mod):\n    return {}\n'
    bye = '@on("unload")\ndef bye(mod, e):\n    mod.emit("bye", reason=e.reason)\n'
    folder = write_mod("guest", script.format(1, 1) + bye, toml=manifest("guest"))
    game = start()
    game.host.emit("ask")
    game.until(lambda: game.named("version"))
    back = '@restore\ndef r(mod, state, version):\n    mod.emit("state", was=state)\n'
    write_mod("guest", script.format(2, 2) + bye + back, toml=manifest("guest"))
    game.host.reload("guest", now=True)
    game.host.emit("ask")
    game.until(lambda: game.named("state") and len(game.named("version")) == 2)
    assert game.named("version") == [(1,), (2,)] and game.named("state") == [(1,)]
    assert game.named("bye") == [("reload",)] and game.host.report["guest"].reloads == 1
    write_mod("guest", "def f(:", toml=manifest("guest"))
    game.host.reload("guest", now=True)
    assert "the old one goes on" in (game.host.report["guest"].notice or "")
    game.host.unload("guest", "season over")
    time.sleep(0.5)  # a process that has said farewell may be known to have ended before that is read
    game.until(lambda: len(game.named("bye")) == 2)
    assert game.named("bye")[1] == ("season over",) and game.host.report["guest"].state == "unloaded"
    game.until(lambda: not game.host._workers)
    write_mod("guest", script.format(3, 3), toml=manifest("guest"))
    game.host.load(folder)
    game.host.emit("ask")
    game.until(lambda: len(game.named("version")) == 3)


def test_only_what_is_plain_goes_to_another_process() -> None:
    circle: list[Any] = []
    circle.append(circle)
    fields = {"a": 1, "b": [1, {"c": b"x"}], "f": print, "o": [object()], "big": 2**70, "deep": circle, "k": {1: 2}}
    assert plain(fields) == {"a": 1, "b": [1, {"c": b"x"}]}


def test_limits_out_of_range_are_named() -> None:
    for options in ({"worker_ms": 0}, {"worker_mb": -1}):
        with pytest.raises(OptionError, match="worker_ms and worker_mb"):
            Host(None, **options)

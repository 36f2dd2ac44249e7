"""A frame has a budget and mods share it fairly; who takes too long is throttled, suspended, or interrupted."""

from __future__ import annotations

import gc
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modkit.errors import OptionError
from modkit.host import Host
from modkit.testing import FakeEngine, ManualClock, run_ticks
from tests.host.test_coroutines import Talker

WriteMod = Callable[..., Path]
pytestmark = pytest.mark.filterwarnings("ignore:coroutine 'go' was never awaited")  # some are cut off on purpose

WORKERS = """
    @on("go")
    def go(mod, event):
        for n in range(event.count):
            mod.spawn(work(mod, n, event.clock))

    async def work(mod, n, clock):
        await frames(1)
        clock.advance(0.001)
        mod.emit("did", by=mod.id, n=n)
    """


def listen(host: Host) -> list[tuple[Any, ...]]:
    heard: list[tuple[Any, ...]] = []
    host.subscribe("*", lambda event: heard.append((host.frame, event.name, *event.fields.values())))
    return heard


def test_coroutines_take_turns_within_the_budget_and_none_is_lost(write_mod: WriteMod, mods: Path) -> None:
    for ident in ("busy", "quiet"):
        write_mod(ident, WORKERS.replace('"go"', f'"{ident}"'))
    clock = ManualClock()
    host = Host(mods, clock=clock)
    heard = listen(host)
    host.emit("busy", count=20, clock=clock)
    host.emit("quiet", count=2, clock=clock)
    host.tick(0.1, budget_ms=4)
    for _ in range(6):
        host.tick(0.1, budget_ms=4)
    by_frame = [[entry[2:] for entry in heard if entry[0] == frame] for frame in range(2, 8)]
    assert [len(entries) for entries in by_frame] == [4, 4, 4, 4, 4, 2]
    assert by_frame[0] == [("busy", 0), ("quiet", 0), ("busy", 1), ("quiet", 1)]
    assert [n for entries in by_frame for who, n in entries if who == "busy"] == list(range(20))
    assert host.deferred == 0


def test_events_are_delivered_whatever_the_budget_and_one_step_is_made(write_mod: WriteMod, mods: Path) -> None:
    write_mod(
        "slow",
        '@on("go")\ndef go(mod, e):\n    e.clock.advance(0.002)\n    mod.emit("went", n=e.n)\n'
        '@every(0.1)\ndef beat(mod):\n    mod.emit("beat")\n',
    )
    clock = ManualClock()
    host = Host(mods, clock=clock)
    heard = listen(host)
    for frame in range(10):
        for n in range(10):
            host.emit("go", clock=clock, n=10 * frame + n)
        host.tick(0.1, budget_ms=1)
    assert [entry[2] for entry in heard if entry[1] == "went"] == list(range(100))
    assert [entry[0] for entry in heard if entry[1] == "beat"] == list(range(1, 11))


def test_a_suspended_mods_coroutines_wait_for_it_and_hold_up_nobody(write_mod: WriteMod, mods: Path) -> None:
    for ident in ("a", "b"):
        write_mod(ident, WORKERS)
    clock = ManualClock()
    host = Host(mods, clock=clock)
    heard = listen(host)
    host.emit("go", count=3, clock=clock)
    host.tick(0.1)
    host.suspend("a", "the game says so")
    run_ticks(host, 3)
    assert [entry[2] for entry in heard] == ["b", "b", "b"]
    assert host.deferred == 3 and "the game says so" in (host.report["a"].problem or "")
    host.resume("a")
    host.tick(0.1)
    assert [entry[2:] for entry in heard[3:]] == [("a", 0), ("a", 1), ("a", 2)]


def overrun(write_mod: WriteMod, mods: Path, **options: Any) -> tuple[Host, ManualClock, list[tuple[Any, ...]]]:
    write_mod(
        "heavy",
        """
        @on("go")
        def go(mod, event):
            event.clock.advance(event.ms / 1000)

        @on("tick")
        def tick(mod, event):
            mod.emit("ticked")

        @every(0.001)
        def beat(mod):
            mod.emit("beat")
        """,
    )
    clock = ManualClock()
    host = Host(mods, clock=clock, **options)
    return host, clock, listen(host)


def test_one_pause_is_forgotten_and_a_little_too_slow_is_borne(write_mod: WriteMod, mods: Path) -> None:
    host, clock, _ = overrun(write_mod, mods)
    host.emit("go", clock=clock, ms=160)
    run_ticks(host, 200, 0.01)
    for _ in range(1000):
        host.emit("go", clock=clock, ms=8.9)
        host.tick(0.01)
    report = host.report["heavy"]
    assert (report.state, report.overruns, report.problem) == ("running", 1001, None)


def test_too_slow_is_throttled_until_forgiven_and_events_still_come(write_mod: WriteMod, mods: Path) -> None:
    host, clock, heard = overrun(write_mod, mods)
    for ms in (258, 60):
        assert host.report["heavy"].state == "running"
        host.emit("go", clock=clock, ms=ms)
        host.tick(0.01)
    report = host.report["heavy"]
    assert report.state == "throttled" and "go() for 'go' took 60 ms" in (report.problem or "")
    assert "await frames(1)" in (report.problem or "")
    heard.clear()
    run_ticks(host, 80, 0.01)
    assert [len([e for e in heard if e[1] == name]) for name in ("ticked", "beat")] == [10, 10]
    run_ticks(host, 250, 0.01)
    heard.clear()
    run_ticks(host, 10, 0.01)
    assert len(heard) == 20 and host.report["heavy"].state == "running" and host.report["heavy"].problem is None


def test_far_too_slow_is_suspended_after_five_calls_at_the_least(write_mod: WriteMod, mods: Path) -> None:
    host, clock, _heard = overrun(write_mod, mods)
    states = []
    for _ in range(5):
        host.emit("go", clock=clock, ms=30_000)
        host.tick(0.01)
        states.append(host.report["heavy"].state)
    assert states == ["running", "throttled", "throttled", "throttled", "suspended"]
    assert "host.resume('heavy')" in (host.report["heavy"].problem or "")
    host.resume("heavy")
    host.emit("go", clock=clock, ms=1)
    host.tick(0.01)
    assert host.report["heavy"].state == "running"


def test_without_a_limit_nobody_is_too_slow(write_mod: WriteMod, mods: Path) -> None:
    host, clock, _ = overrun(write_mod, mods, slow_ms=None)
    for _ in range(5):
        host.emit("go", clock=clock, ms=30_000)
        host.tick(0.01)
    assert (host.report["heavy"].state, host.report["heavy"].overruns) == ("running", 0)


def test_failures_back_off_and_are_told_once_a_burst(
    write_mod: WriteMod, mods: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_mod("bad", '@on("tick")\ndef tick(mod, event):\n    raise ValueError(mod.frame)\n')
    write_mod("odd", '@on("tick")\ndef tick(mod, event):\n    assert mod.frame % 2\n')
    host = Host(mods, clock=ManualClock())
    failed_at = []
    for _ in range(400):
        before = host.report["bad"].failures
        host.tick(0.01)
        if host.report["bad"].failures > before:
            failed_at.append(host.frame)
    gaps = [b - a for a, b in itertools.pairwise(failed_at)]
    assert gaps == [1, 1, 2, 4, 8, 16, 32, 64, 64]
    assert host.report["bad"].state == "suspended" and host.report["odd"].failures == 200
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if "'odd' failed" in line]) == 1
    assert len([line for line in lines if "'bad'" in line]) == 2
    run_ticks(host, 1)
    host.suspend("odd")
    run_ticks(host, 400)
    caplog.clear()
    host.resume("odd")
    run_ticks(host, 2)
    assert "199 more like it since the last line" in caplog.text


LOOP = """
    @on("loop")
    def loop(mod, event):
        while True:
            pass

    @on("loop")
    def after(mod, event):
        mod.emit("after")

    @on("aloop")
    async def aloop(mod, event):
        await frames(1)
        try:
            while True:
                pass
        finally:
            mod.emit("cleaned")

    @on("stubborn")
    def stubborn(mod, event):
        n = 0
        while n < 3:
            try:
                while True:
                    pass
            except Exception:
                pass
    """


@pytest.mark.parametrize("crime", ["loop", "aloop", "stubborn"])
def test_the_watchdog_ends_a_loop_and_the_frame_goes_on(write_mod: WriteMod, mods: Path, crime: str) -> None:
    write_mod("hung", LOOP)
    write_mod("good", f'@on("{crime}")\ndef go(mod, e):\n    mod.emit("good")\n@on("tick")\ndef t(mod, e):\n    pass\n')
    with Host(mods, watchdog="interrupt", hang_ms=60) as host:
        heard = listen(host)
        host.emit(crime)
        run_ticks(host, 3)
        assert "good" in [entry[1] for entry in heard]
        assert ("after" in [entry[1] for entry in heard]) == (crime == "loop")
        assert ("cleaned" in [entry[1] for entry in heard]) == (crime == "aloop")
        report = host.report["hung"]
        assert report.failures == 1 and "Overdue: the watchdog stopped it" in (report.last_error or "")
        assert host.report["good"].failures == 0


def test_wherever_the_watchdogs_exception_comes_up_every_event_is_delivered(
    write_mod: WriteMod, mods: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second net: the exception is thrown at every line of the host's own frame in turn."""
    from modkit.host.watchdog import Overdue

    waits = '@on("go")\nasync def go(mod, e):\n    mod.emit("a", n=e.n)\n    await frames(1)\n    mod.emit("late")\n'
    write_mod("a", waits)
    write_mod("b", '@on("go")\ndef go(mod, e):\n    mod.emit("b", n=e.n)\n')
    own = str(Path(sys.modules["modkit.host.host"].__file__ or "").parent)
    places = 0
    for place in range(1, 400):
        with Host(mods, watchdog="interrupt", hang_ms=60_000) as host:
            host.tick(0.1)
            heard = listen(host)
            seen = 0
            thrown = []

            def trace(frame: Any, kind: str, _: Any, place: int = place, thrown: list[str] = thrown) -> Any:
                nonlocal seen
                if not frame.f_code.co_filename.startswith(own) or thrown:
                    return None
                if kind == "line" and _within(frame, "_run_safely") and frame.f_code.co_name != "_run_safely":
                    seen += 1
                    if seen == place:
                        thrown.append(frame.f_code.co_name)
                        raise Overdue
                return trace

            host.emit("go", n=1)
            host.emit("go", n=2)
            sys.settrace(trace)
            try:
                host.tick(0.1)
            finally:
                sys.settrace(None)
            run_ticks(host, 2)
            if not thrown:
                break
            places += 1
            told = [entry[1:] for entry in heard if entry[1] == "b"]
            assert len(told) >= 1 and told == sorted(told), (place, thrown)
            assert host.frame == 4
    host.close()
    del host
    gc.collect()  # the coroutines that were cut off before their first step
    assert places > 50, "it really was thrown in many places"


def _within(frame: Any, name: str) -> bool:
    while frame is not None:
        if frame.f_code.co_name == name:
            return True
        frame = frame.f_back
    return False


def test_the_collector_is_the_hosts_after_settle_and_is_given_back(write_mod: WriteMod, mods: Path) -> None:
    assert gc.isenabled()
    clock = ManualClock()
    with Host(mods, clock=clock) as host:
        host.settle()
        assert not gc.isenabled() and gc.get_freeze_count() > 1000
        before = sum(one["collections"] for one in gc.get_stats()[:2])
        for _ in range(50):
            rubbish: list[Any] = [[] for _ in range(100)]
            for one in rubbish:
                one.append(one)
            del rubbish
            host.tick(0.01, budget_ms=5)
        assert sum(one["collections"] for one in gc.get_stats()[:2]) > before
        assert gc.get_freeze_count() > 1000
    assert gc.isenabled() and gc.get_freeze_count() == 0


@pytest.mark.parametrize("options", [{"slow_ms": 0}, {"watchdog": "kill"}, {"hang_ms": -1}, {"failures": 0}])
def test_options_out_of_range_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        Host(None, **options)
    with pytest.raises(OptionError, match="budget_ms"), Host(None) as host:
        host.tick(0.1, budget_ms=0)


def test_the_watchdog_ends_a_script_that_does_not_finish_loading(write_mod: WriteMod, mods: Path) -> None:
    write_mod("hung", "while True:\n    pass\n")
    write_mod("good", "")
    host = Host(mods, watchdog="interrupt", hang_ms=60)
    assert host.report["good"].state == "running"
    assert "the watchdog stopped it" in (host.report["hung"].problem or "")


def test_the_engine_hears_of_late_frames(write_mod: WriteMod, mods: Path) -> None:
    class Engine:
        def __init__(self) -> None:
            self.told: list[tuple[int, float]] = []

        def tick(self) -> None:
            pass

        def late(self, ms: float) -> None:
            self.told.append((host.frame + 1, ms))

    clock, engine = ManualClock(), Engine()
    host = Host(None, clock=clock, engine=engine)
    for frame in range(1, 301):
        clock.advance({100: 0.050, 200: 30.0, 250: 0.018}.get(frame, 1 / 60))
        host.tick(1 / 60)
    assert [(frame, round(ms)) for frame, ms in engine.told] == [(100, 33)]


def test_what_a_mod_hangs_on_a_reply_is_called_as_the_mods_code(write_mod: WriteMod, mods: Path) -> None:
    write_mod(
        "hangs",
        """
        @on("go")
        def go(mod, event):
            reply = mod.npc("sable").say("?")
            reply.on_done(lambda done: 1 / 0)
            reply.on_done(lambda done: mod.emit("over", text=done.text))

            async def later(done):
                await frames(2)
                mod.emit("later")

            reply.on_done(later)
        """,
    )
    engine = FakeEngine(["One two."])
    host = Host(mods, engine=engine)
    host.add_npc("sable", Talker(engine))
    heard = listen(host)
    host.emit("go")
    run_ticks(host, 10)
    assert [entry[1:] for entry in heard] == [("over", "One two."), ("later",)]
    report = host.report["hangs"]
    assert (report.state, report.failures) == ("running", 1) and "ZeroDivisionError" in (report.last_error or "")

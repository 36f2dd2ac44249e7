"""The host keeps each mod's mistakes to itself, and gives every mod its events, in order, in game time."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from modkit.errors import ModError, OptionError, WrongThread
from modkit.host import Event, Host
from modkit.testing import ManualClock, run_ticks

WriteMod = Callable[..., Path]


def listen(host: Host, name: str = "*") -> list[tuple[int, str, dict[str, Any]]]:
    heard: list[tuple[int, str, dict[str, Any]]] = []
    host.subscribe(name, lambda event: heard.append((host.frame, event.name, dict(event.fields))))
    return heard


GOOD = """
    seen = []

    @on("count")
    def count(mod, event):
        mod.emit("counted", n=event.n)
    """


def test_a_mod_that_always_raises_costs_its_neighbours_nothing(write_mod: WriteMod, mods: Path) -> None:
    write_mod("a_good", GOOD)
    write_mod("b_bad", '@on("count")\ndef count(mod, event):\n    raise ValueError("I always do this")\n')
    write_mod("c_good", GOOD)
    host = Host(mods)
    heard: list[tuple[str | None, int]] = []
    host.subscribe("counted", lambda event: heard.append((event.source, event.n)))
    for n in range(1000):
        host.emit("count", n=n)
        host.tick(1 / 60)
    assert [n for source, n in heard if source == "a_good"] == list(range(1000))
    assert [n for source, n in heard if source == "c_good"] == list(range(1000))
    bad = host.report["b_bad"]
    assert (bad.state, bad.failures) == ("suspended", 10)
    assert bad.last_error is not None and "I always do this" in bad.last_error
    assert host.report["a_good"].failures == 0


def test_handlers_run_by_mod_id_then_by_registration(write_mod: WriteMod, mods: Path) -> None:
    for ident in ("zeta", "alpha"):
        write_mod(
            ident,
            """
            @on("go")
            def second_by_name(mod, event):
                mod.emit("ran", which=mod.id + "1")

            @on("go")
            def first_by_name(mod, event):
                mod.emit("ran", which=mod.id + "2")
            """,
        )
    host = Host(mods)
    heard = listen(host)
    host.emit("go")
    host.tick(0.1)
    assert [fields["which"] for _, _, fields in heard] == ["alpha1", "alpha2", "zeta1", "zeta2"]


def test_a_failure_is_logged_once_a_row_with_the_mods_name_and_its_own_lines(
    write_mod: WriteMod, mods: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_mod("clumsy", '@on("go")\ndef trip(mod, event):\n    {}["missing"]\n')
    host = Host(mods)
    with caplog.at_level(logging.ERROR):
        for _ in range(9):
            host.emit("go")
            host.tick(0.1)
    assert len(caplog.records) == 1
    message = caplog.records[0].getMessage()
    assert caplog.records[0].name == "modkit.mod.clumsy"
    assert "'clumsy' failed in trip() for 'go'" in message and '{}["missing"]' in message
    assert "guard.py" not in message


def test_a_suspended_mod_goes_on_after_resume(write_mod: WriteMod, mods: Path) -> None:
    write_mod(
        "moody",
        """
        @on("go")
        def go(mod, event):
            if event.bad:
                raise RuntimeError("no")
            mod.emit("went")

        @on("ready")
        async def sleeper(mod, event):
            await seconds(1)
            mod.emit("woke")
        """,
    )
    host = Host(mods, failures=3)
    heard = listen(host)
    for _ in range(3):
        host.emit("go", bad=True)
        host.tick(0.1)
    assert host.report["moody"].state == "suspended"
    host.emit("go", bad=False)
    run_ticks(host, 20, 0.1)
    assert heard == []
    host.resume("moody")
    host.emit("go", bad=False)
    host.tick(0.1)
    assert [name for _, name, _ in heard] == ["went", "woke"]
    assert host.report["moody"].problem is None


def test_a_success_between_failures_keeps_a_mod_running(write_mod: WriteMod, mods: Path) -> None:
    write_mod("odd", '@on("n")\ndef n(mod, event):\n    assert event.n % 3\n')
    host = Host(mods, failures=3)
    for n in range(300):
        host.emit("n", n=n)
        host.tick(0.1)
    assert (host.report["odd"].state, host.report["odd"].failures) == ("running", 100)


@pytest.mark.parametrize(
    "crime", ["sys.exit(3)", "raise BaseException('x')", "raise GeneratorExit", "deep(0)"]
)
def test_no_exception_of_a_mod_leaves_the_tick(write_mod: WriteMod, mods: Path, crime: str) -> None:
    write_mod(
        "crook",
        f'import sys\ndef deep(n):\n    deep(n + 1)\n@on("go")\ndef go(mod, event):\n    {crime}\n',
    )
    host = Host(mods)
    host.emit("go")
    host.tick(0.1)
    assert host.report["crook"].failures == 1


def test_an_exception_in_the_games_own_function_reaches_the_game(write_mod: WriteMod, mods: Path) -> None:
    write_mod("caller", '@on("go")\ndef go(mod, event):\n    mod.emit("one")\n    mod.emit("two")\n')
    host = Host(mods)
    heard = listen(host, "two")

    def broken(event: Event) -> None:
        raise ZeroDivisionError("the game's own mistake")

    stop = host.subscribe("one", broken)
    host.emit("go")
    with pytest.raises(ZeroDivisionError):
        host.tick(0.1)
    stop()
    host.tick(0.1)
    assert [name for _, name, _ in heard] == ["two"]
    assert host.report["caller"].failures == 0


def test_a_handler_added_in_a_dispatch_runs_next_time_and_a_removed_one_is_skipped_at_once(
    write_mod: WriteMod, mods: Path
) -> None:
    write_mod(
        "shifty",
        """
        handles = []

        @on("ready")
        def ready(mod, event):
            mod.on("go", first)
            handles.append(mod.on("go", second))

        def first(mod, event):
            mod.emit("ran", who="first")
            handles[0].remove()
            if len(handles) == 1:
                handles.append(mod.on("go", third))

        def second(mod, event):
            mod.emit("ran", who="second")

        def third(mod, event):
            mod.emit("ran", who="third")
        """,
    )
    host = Host(mods)
    heard = listen(host)
    host.emit("go")
    host.tick(0.1)
    assert [fields["who"] for _, _, fields in heard] == ["first"]
    host.emit("go")
    host.tick(0.1)
    assert [fields["who"] for _, _, fields in heard] == ["first", "first", "third"]


def test_what_a_mod_emits_reaches_the_game_this_frame_and_other_mods_the_next(
    write_mod: WriteMod, mods: Path
) -> None:
    write_mod("ping", '@on("pong")\ndef go(mod, event):\n    mod.emit("ping", n=event.n + 1)\n')
    write_mod("pong", '@on("ping")\ndef go(mod, event):\n    mod.emit("pong", n=event.n + 1)\n')
    host = Host(mods)
    heard = listen(host)
    host.emit("ping", n=0)
    run_ticks(host, 4)
    assert [(frame, name, fields["n"]) for frame, name, fields in heard] == [
        (1, "pong", 1),
        (2, "ping", 2),
        (3, "pong", 3),
        (4, "ping", 4),
    ]


def test_a_mod_that_floods_is_stopped_within_the_frame(write_mod: WriteMod, mods: Path) -> None:
    write_mod("flood", '@on("go")\ndef go(mod, event):\n    while True:\n        mod.emit("drop")\n')
    host = Host(mods)
    heard = listen(host)
    host.emit("go")
    host.tick(0.1)
    assert len(heard) == 1000
    assert "1000 events in one frame" in (host.report["flood"].last_error or "")


def test_unload_drops_handlers_timers_and_tasks_and_the_module_is_collected(
    write_mod: WriteMod, mods: Path
) -> None:
    write_mod(
        "guest",
        """
        @on("tick")
        def tick(mod, event):
            mod.emit("noise", by="handler")

        @every(0.1)
        def timer(mod):
            mod.emit("noise", by="timer")

        @on("ready")
        async def task(mod, event):
            try:
                while True:
                    await seconds(0.1)
                    mod.emit("noise", by="task")
            finally:
                mod.emit("farewell", by="finally")

        @on("unload")
        def bye(mod, event):
            mod.emit("farewell", by=event.reason)
        """,
    )
    host = Host(mods)
    heard = listen(host)
    run_ticks(host, 3, 0.1)
    assert {fields["by"] for _, _, fields in heard} == {"handler", "timer", "task"}
    module = weakref.ref(next(m for n, m in sys.modules.items() if n.endswith("_guest")))
    heard.clear()
    host.unload("guest", "season over")
    run_ticks(host, 10, 0.1)
    assert [(name, fields["by"]) for _, name, fields in heard] == [
        ("farewell", "season over"),
        ("farewell", "finally"),
    ]
    gc.collect()
    assert module() is None
    assert host.report["guest"].state == "unloaded"


def test_an_unloaded_mod_can_be_loaded_again_afresh(write_mod: WriteMod, mods: Path) -> None:
    folder = write_mod(
        "phoenix", 'n = []\n@on("go")\ndef go(mod, e):\n    n.append(1)\n    mod.emit("n", n=len(n))\n'
    )
    host = Host(mods)
    heard = listen(host)
    for _ in range(3):
        host.emit("go")
        host.tick(0.1)
        host.unload("phoenix")
        host.load(folder)
    assert [fields["n"] for _, _, fields in heard] == [1, 1, 1]
    assert host.report["phoenix"].state == "running"


def test_ready_comes_once_all_mods_are_loaded(write_mod: WriteMod, mods: Path) -> None:
    write_mod("a", '@on("ready")\ndef r(mod, event):\n    mod.emit("hello", by="a")\n')
    write_mod("b", '@on("hello")\ndef h(mod, event):\n    mod.emit("heard", of=event.by)\n')
    host = Host(mods)
    heard = listen(host, "heard")
    run_ticks(host, 2)
    assert [fields["of"] for _, _, fields in heard] == ["a"]


def test_time_is_attributed_to_the_mod_that_took_it(write_mod: WriteMod, mods: Path) -> None:
    write_mod("slow", '@on("go")\ndef go(mod, event):\n    event.clock.advance(0.25)\n')
    write_mod("quick", '@on("go")\ndef go(mod, event):\n    pass\n')
    clock = ManualClock()
    host = Host(mods, clock=clock)
    for _ in range(2):
        host.emit("go", clock=clock)
        host.tick(0.1)
    assert (host.report["slow"].seconds, host.report["slow"].slowest) == (0.5, 0.25)
    assert (host.report["quick"].seconds, host.report["quick"].calls) == (0.0, 2)


def test_an_events_fields_are_attributes_and_it_says_which_it_has() -> None:
    event = Event("door_opened", {"side": "north"})
    assert (event.name, event.side, event.get("key", "none")) == ("door_opened", "north", "none")
    with pytest.raises(AttributeError, match="it has: side"):
        event.sied  # noqa: B018
    with pytest.raises(AttributeError, match="cannot be changed"):
        event.side = "south"
    with pytest.raises(OptionError, match="rename it"):
        Event("x", {"name": "y"})


def test_misuse_by_the_game_is_named(mods: Path) -> None:
    host = Host(mods)
    with pytest.raises(OptionError, match="0 or more"):
        host.tick(-1)
    with pytest.raises(ModError, match="Only the host emits 'tick'"):
        host.emit("tick")
    with pytest.raises(OptionError, match="not empty"):
        host.emit("")
    with pytest.raises(ModError, match="loaded: none"):
        host.unload("nobody")
    with pytest.raises(ModError, match="not a folder"):
        Host(mods / "nowhere")
    caught: list[BaseException] = []

    def elsewhere() -> None:
        try:
            host.tick(0.1)
        except WrongThread as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "thread that made it" in str(caught[0])


def test_a_tick_inside_a_tick_is_refused_and_the_outer_one_goes_on(write_mod: WriteMod, mods: Path) -> None:
    write_mod("loop", '@on("go")\ndef go(mod, event):\n    event.host.tick(0.1)\n')
    host = Host(mods)
    host.emit("go", host=host)
    host.tick(0.1)
    assert "inside itself" in (host.report["loop"].last_error or "")
    host.tick(0.1)
    assert host.frame == 2


def test_close_unloads_all_and_can_be_called_twice(write_mod: WriteMod, mods: Path) -> None:
    write_mod("a", '@on("ready")\nasync def r(mod, event):\n    await seconds(1e6)\n')
    before = list(sys.meta_path)
    with Host(mods) as host:
        host.tick(0.1)
        host.close()
    assert host.report["a"].state == "unloaded"
    assert [f for f in sys.meta_path if type(f).__name__ == "Script"] == [
        f for f in before if type(f).__name__ == "Script"
    ]
    assert not [
        n for n, m in sys.modules.items() if n.startswith("modkit_mod_") and isinstance(m, ModuleType)
    ]

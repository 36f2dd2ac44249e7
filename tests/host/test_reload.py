"""Reload exchanges a mod between two frames; the old code goes on when the new is no good; what is kept is kept."""

from __future__ import annotations

import gc
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modkit.errors import ModError
from modkit.host import Host
from modkit.persona import Save
from modkit.testing import FakeEngine, run_ticks
from tests.host.test_coroutines import Talker

WriteMod = Callable[..., Path]

COUNTER = """
    VERSION = {version}
    count = 0

    @on("go")
    def go(mod, event):
        global count
        count += 1
        mod.emit("count", n=count, version=VERSION, event=event.n)

    @save
    def keep(mod):
        return {{"count": count}}

    @restore
    def bring_back(mod, state, version):
        global count
        count = state["count"]
        mod.emit("restored", version=version)

    @on("unload")
    def bye(mod, event):
        mod.emit("bye", reason=event.reason, version=VERSION)
    """


def counter(write_mod: WriteMod, version: int, extra: str = "") -> Path:
    script = COUNTER.format(version=version) + extra
    return write_mod("counter", script, toml=f'id = "counter"\nversion = "{version}.0"\n')


def listen(host: Host) -> list[tuple[Any, ...]]:
    heard: list[tuple[Any, ...]] = []
    host.subscribe("*", lambda event: heard.append((event.name, *event.fields.values())))
    return heard


def test_a_reload_keeps_the_state_and_loses_no_event(write_mod: WriteMod, mods: Path) -> None:
    counter(write_mod, 1)
    host = Host(mods)
    heard = listen(host)
    for n in range(6):
        host.emit("go", n=n)
        if n == 3:
            counter(write_mod, 2)
            host.reload("counter", now=True)
        host.tick(0.1)
    assert [entry for entry in heard if entry[0] == "count"] == [
        ("count", n + 1, 1 if n < 3 else 2, n) for n in range(6)
    ]
    assert ("restored", "1.0") in heard and ("bye", "reload", 1) in heard
    assert (host.report["counter"].reloads, host.report["counter"].version) == (1, "2.0")


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ("\n    def f(:", "invalid syntax"),
        ("\n    1 / 0", "ZeroDivisionError"),
        ('\n    @on("go")\n    def bad(mod):\n        pass', "cannot take"),
        ("\n    from . import nowhere", "nowhere"),
    ],
)
def test_the_old_code_goes_on_when_the_new_does_not_load(
    write_mod: WriteMod, mods: Path, extra: str, why: str
) -> None:
    counter(write_mod, 1)
    host = Host(mods)
    heard = listen(host)
    host.emit("go", n=0)
    host.tick(0.1)
    counter(write_mod, 2, extra)
    modules = {name for name in sys.modules if name.startswith("modkit_mod_")}
    host.reload("counter", now=True)
    host.emit("go", n=1)
    host.tick(0.1)
    assert heard == [("count", 1, 1, 0), ("count", 2, 1, 1)]
    report = host.report["counter"]
    assert report.state == "running" and why in (report.notice or "") and "the old one goes on" in (report.notice or "")
    assert {name for name in sys.modules if name.startswith("modkit_mod_")} == modules
    counter(write_mod, 3)
    host.reload("counter", now=True)
    host.emit("go", n=2)
    host.tick(0.1)
    assert heard[-1] == ("count", 3, 3, 2) and host.report["counter"].notice is None


def test_a_restore_that_fails_keeps_the_old_code_and_takes_its_writes_back(write_mod: WriteMod, mods: Path) -> None:
    write_mod("m", '@save\ndef s(mod):\n    return 1\n@on("ready")\ndef r(mod, e):\n    mod.storage["a"] = "old"\n')
    host = Host(mods)
    host.tick(0.1)
    writes = '    mod.storage["a"] = "new"\n    mod.storage["b"] = 1\n    1 / 0\n'
    write_mod("m", "@restore\ndef r(mod, state, version):\n" + writes)
    host.reload("m", now=True)
    assert "ZeroDivisionError" in (host.report["m"].notice or "")
    assert dict(host.mods[0].storage) == {"a": "old"}


def test_a_reload_takes_what_the_old_one_owned(write_mod: WriteMod, mods: Path) -> None:
    script = """
        @on("ready")
        def ready(mod, event):
            mod.every(0.1, lambda mod: mod.emit("noise", by="timer"))
            mod.spawn(task(mod))
            mod.npc("sable").say("Hello?")

        async def task(mod):
            while True:
                await seconds(0.1)
                mod.emit("noise", by="task")
        """
    write_mod("noisy", script)
    engine = FakeEngine(["word " * 1000])
    host = Host(mods, engine=engine)
    talker = Talker(engine)
    host.add_npc("sable", talker)
    run_ticks(host, 3, 0.1)
    old, module = host.mods[0], weakref.ref(next(m for n, m in sys.modules.items() if n.endswith("_noisy")))
    gone = weakref.ref(old)
    handler_mod = weakref.ref(old)
    write_mod("noisy", "")
    host.reload("noisy", now=True)
    heard = listen(host)
    run_ticks(host, 20, 0.1)
    assert heard == [] and [reply.finish for reply in talker.replies] == ["cancelled"]
    with pytest.raises(ModError, match="unloaded"):
        old.emit("ghost")
    del old
    gc.collect()
    assert (module(), gone(), handler_mod()) == (None, None, None)


def test_a_reload_without_now_is_prepared_off_the_frame(write_mod: WriteMod, mods: Path) -> None:
    counter(write_mod, 1)
    host = Host(mods)
    host.tick(0.1)
    counter(write_mod, 2)
    host.reload("counter")
    deadline = time.monotonic() + 30
    while host.report["counter"].reloads == 0:
        host.tick(0.01)
        assert time.monotonic() < deadline
    assert host.report["counter"].version == "2.0"


def test_a_changed_file_reloads_its_mod_and_a_mended_one_loads(write_mod: WriteMod, mods: Path) -> None:
    counter(write_mod, 1)
    write_mod("broken", "def f(:")
    host = Host(mods, watch=True)
    host.tick(0.1)
    counter(write_mod, 22)
    write_mod("broken", "x = 1")
    deadline = time.monotonic() + 60
    while host.report["counter"].version != "22.0" or host.report["broken"].state != "running":
        host.tick(0.01)
        assert time.monotonic() < deadline, host.report
        time.sleep(0.005)


def test_a_mod_may_ask_for_its_own_reload_and_it_happens_between_frames(write_mod: WriteMod, mods: Path) -> None:
    write_mod("self", '@on("go")\ndef go(mod, e):\n    e.host.reload("self", now=True)\n    mod.emit("still here")\n')
    host = Host(mods)
    heard = listen(host)
    host.emit("go", host=host)
    host.tick(0.1)
    assert heard == [("still here",)] and host.report["self"].reloads == 0
    host.tick(0.1)
    assert (host.report["self"].reloads, host.report["self"].failures) == (1, 0)


def test_a_hundred_reloads_leave_nothing_behind(write_mod: WriteMod, mods: Path) -> None:
    counter(write_mod, 1)
    host = Host(mods)
    heard = listen(host)

    def again(times: int) -> int:
        for n in range(times):
            host.emit("go", n=n)
            host.reload("counter", now=True)
            host.tick(0.1)
        gc.collect()
        heard_now, heard[:] = [entry for entry in heard if entry[0] == "count"], []
        assert len(heard_now) == times, "no event is lost"
        return len(gc.get_objects())

    again(20)
    before = again(20)
    assert again(100) - before < 50
    assert host.report["counter"].reloads == 140
    host.emit("go", n=0)
    host.tick(0.1)
    assert heard[-1][1] == 141


def test_storage_and_state_come_back_in_the_next_session(write_mod: WriteMod, mods: Path, tmp_path: Path) -> None:
    meets = '\n    @on("ready")\n    def r(mod, e):\n        mod.storage["met"] = ["Sable", {"at": 1.5}]\n'
    counter(write_mod, 1, meets)
    with Host(mods, save=tmp_path / "a.save") as host:
        host.emit("go", n=0)
        host.tick(0.1)
    counter(write_mod, 2)
    with Host(mods, save=tmp_path / "a.save") as host:
        heard = listen(host)
        host.emit("go", n=1)
        host.tick(0.1)
        assert ("count", 2, 2, 1) in heard
        assert dict(host.mods[0].storage) == {"met": ["Sable", {"at": 1.5}]}


def test_an_older_copy_of_the_save_brings_back_what_was_then(write_mod: WriteMod, mods: Path, tmp_path: Path) -> None:
    import threading

    write_mod("m", '@on("n")\ndef n(mod, e):\n    mod.storage["n"] = e.n\n')
    with Host(mods, save=tmp_path / "a.save") as host:
        for n in range(3):
            host.emit("n", n=n)
            host.tick(0.1)
            written = threading.Event()
            host.save(tmp_path / f"slot{n}.save", done=written.set)
            assert written.wait(30) and host.save_error is None
    for n in range(3):
        with Host(mods, save=tmp_path / f"slot{n}.save") as host:
            assert dict(host.mods[0].storage) == {"n": n}


def test_what_a_mod_keeps_is_committed_with_the_turn_it_belongs_to(tmp_path: Path) -> None:
    from tests.persona.test_save import turn

    with Save.open(tmp_path / "a.save") as save, Save.open(tmp_path / "a.save") as reader:
        save.stage("harbour", {"told": b"\x01"})
        assert reader.state("harbour") == {}
        save.add_turn("Sable", turn(1))
        assert (reader.state("harbour"), len(reader.turns("Sable"))) == ({"told": b"\x01"}, 1)
        save.stage("harbour", {"told": b"\x02", "x": b""})
        with pytest.raises(AttributeError):
            save.add_turns("Sable", [None])  # type: ignore[list-item]
        with pytest.raises(TypeError):
            save.put_state("harbour", {"bad": object()})  # type: ignore[dict-item]
        assert reader.state("harbour") == {"told": b"\x01"}, "a transaction that fails takes nothing along"
        save.stage("harbour", {"told": b"\x03"})
        save.commit()
        assert reader.state("harbour") == {"told": b"\x03", "x": b""}, "what waited is not lost, the newer stands"


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("lambda: 1", r"storage\['k'\] is a function"),
        ("[1, {'a': print}]", r"storage\['k'\]\[1\]\['a'\] is a builtin_function_or_method \(print\)"),
        ("{(1, 2): 3}", "has the key"),
        ("{1.5}", "is a set"),
        ("mod", "is a Mod"),
        ("2 ** 70", "too large"),
        ("circle", r"storage\['k'\]\['me'\] contains itself"),
        ("deep", "levels deep"),
        ("'x' * (17 << 20)", "bytes; at most"),
        ("'\\ud800'", "cannot be kept"),
    ],
)
def test_what_cannot_be_kept_is_refused_when_it_is_written(
    write_mod: WriteMod, mods: Path, value: str, place: str
) -> None:
    import re

    write_mod(
        "m",
        f"""
        circle = {{}}
        circle["me"] = circle
        deep = []
        for _ in range(100):
            deep = [deep]

        @on("go")
        def go(mod, event):
            mod.storage["k"] = {value}
        """,
    )
    host = Host(mods)
    host.emit("go")
    host.tick(0.1)
    assert re.search(place, host.report["m"].last_error or "")
    assert dict(host.mods[0].storage) == {}


def test_storage_is_a_dict_of_copies(write_mod: WriteMod, mods: Path) -> None:
    write_mod("m")
    storage = Host(mods).mods[0].storage
    storage["list"] = numbers = [1]
    numbers.append(2)
    storage["list"].append(3)
    assert storage["list"] == [1]
    storage["t"] = (1, b"x", None, True, 1.5, {3: "x"})
    assert storage["t"] == [1, b"x", None, True, 1.5, {3: "x"}]
    del storage["list"]
    assert (list(storage), len(storage), storage.get("list")) == (["t"], 1, None)
    with pytest.raises(KeyError):
        storage["nothing"]
    with pytest.raises(ValueError, match="not empty"):
        storage[""] = 1


def test_a_state_that_cannot_be_kept_is_the_mods_failure_alone(write_mod: WriteMod, mods: Path) -> None:
    write_mod("m", "@save\ndef s(mod):\n    return {'f': s}\n")
    host = Host(mods)
    host.save()
    assert "what @save of mod 'm' returned['f'] is a function" in (host.report["m"].last_error or "")


def test_only_one_save_and_one_restore(write_mod: WriteMod, mods: Path) -> None:
    write_mod("m", "@save\ndef a(mod):\n    pass\n@save\ndef b(mod):\n    pass\n")
    assert "two functions for @save" in (Host(mods).report["m"].problem or "")


def test_a_save_that_cannot_be_written_says_so_and_keeps_what_waits(
    write_mod: WriteMod, mods: Path, tmp_path: Path
) -> None:
    import threading

    write_mod("m", '@on("ready")\ndef r(mod, e):\n    mod.storage["n"] = 1\n')
    with Host(mods, save=tmp_path / "a.save") as host:
        host.tick(0.1)
        done = threading.Event()
        host.save(tmp_path / "nowhere" / "slot.save", done=done.set)
        assert done.wait(30) and "nowhere" in str(host.save_error)


LIGHT = """
    class Lamp:
        LIT = {lit}
        def light(self, n):
            return n / self.LIT
    @on("ready")
    def ready(mod, event):
        mod.offer(Lamp(), "{version}")
    """
ASKS = """
    lamp = None

    @on("ready")
    def ready(mod, event):
        global lamp
        lamp = mod.api("light", ">=1.0,<2")

    @on("ask")
    def ask(mod, event):
        mod.emit("answer", there=lamp.available, text=lamp.light(6) if lamp.available else None)

    @on("force")
    def force(mod, event):
        lamp.light(6)
    """


def test_an_api_is_bound_late_and_versioned(write_mod: WriteMod, mods: Path) -> None:
    write_mod("asks", ASKS)
    host = Host(mods)
    heard = listen(host)

    def ask() -> tuple[Any, ...]:
        host.tick(0.1)
        host.emit("ask")
        host.tick(0.1)
        return heard[-1][1:]

    assert ask() == (False, None)
    folder = write_mod("light", LIGHT.format(lit=2, version="1.0"))
    host.load(folder)
    assert ask() == (True, 3)
    write_mod("light", LIGHT.format(lit=3, version="1.1"))
    host.reload("light", now=True)
    assert ask() == (True, 2)
    write_mod("light", LIGHT.format(lit=3, version="2.0"))
    host.reload("light", now=True)
    assert ask() == (False, None)
    host.emit("force")
    host.tick(0.1)
    assert "offers version 2.0, not >=1.0,<2" in (host.report["asks"].last_error or "")
    host.unload("light")
    assert ask() == (False, None)


def test_what_fails_in_an_api_is_its_owners_failure(write_mod: WriteMod, mods: Path) -> None:
    write_mod("asks", ASKS)
    write_mod("light", LIGHT.format(lit=0, version="1.0"))
    host = Host(mods)
    host.tick(0.1)
    host.emit("force")
    host.tick(0.1)
    assert "light() of its api" not in (host.report["asks"].problem or "")
    assert host.report["light"].failures == 1 and "ZeroDivisionError" in (host.report["light"].last_error or "")
    assert "the mistake is in that mod" in (host.report["asks"].last_error or "")


def test_everything_a_mod_made_is_collected_after_its_unload(write_mod: WriteMod, mods: Path, tmp_path: Path) -> None:
    from modkit.host.apis import Api
    from modkit.host.events import Handler
    from modkit.host.mod import Hung, Mod, ModNPC
    from modkit.host.scripts import Script
    from modkit.host.tasks import Task, Timer

    write_mod(
        "maker",
        """
        class Thing:
            pass

        thing = Thing()
        kept = []

        @on("ready")
        def ready(mod, event):
            mod.on("go", lambda mod, event: kept.append(thing))
            mod.every(0.1, lambda mod: kept.append(thing))
            mod.after(100, lambda mod: kept.append(thing))
            for wait in (seconds(100), frames(1000), event_("never")):
                kept.append(mod.spawn(task(mod, wait)))
            npc = mod.npc("sable")
            reply = npc.say("?")
            reply.on_done(lambda done: kept.append(thing))
            kept.extend([mod, npc, reply, mod.open("mod.toml"), mod.storage, mod.settings, mod.api("maker"), mod.log])
            mod.storage["a"] = 1
            mod.offer(thing)

        async def task(mod, wait):
            kept.append(mod)
            await wait

        @save
        def keep(mod):
            return 1

        from modkit.host import event as event_
        """,
    )
    kinds = (Mod, Handler, Timer, Task, Hung, ModNPC, Api, Script)

    def alive() -> list[str]:
        gc.collect()
        return sorted(
            type(one).__name__
            for one in gc.get_objects()
            if isinstance(one, kinds) or (type(one).__name__ == "Thing" and "maker" in type(one).__module__)
        )

    before = alive()
    engine = FakeEngine(["word " * 1000])
    host = Host(mods, engine=engine, save=tmp_path / "a.save")
    talker = Talker(engine)
    host.add_npc("sable", talker)
    run_ticks(host, 5, 0.1)
    assert host.report["maker"].failures == 0
    assert {"Mod", "Handler", "Timer", "Task", "Hung", "ModNPC", "Api", "Script", "Thing"} <= set(alive())
    host.unload("maker")
    host.tick(0.1)
    assert alive() == before, "while the game still holds the reply"
    assert talker.replies[0].finish == "cancelled"

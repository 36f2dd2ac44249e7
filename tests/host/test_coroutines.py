"""Coroutines of mods run on game time inside the tick, stream words over frames, and fail alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modkit.errors import EngineDied, OptionError
from modkit.host import Host, frames, seconds
from modkit.testing import FakeEngine, ManualClock, run_ticks

WriteMod = Callable[..., Path]


class Talker:
    """The face of an NPC over any engine."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.replies: list[Any] = []

    def say(self, words: str, **options: Any) -> Any:
        self.replies.append(self.engine.chat([{"role": "user", "content": words}], **options))
        return self.replies[-1]


def start(mods: Path, engine: FakeEngine | None = None, **options: Any) -> tuple[Host, list[Any]]:
    host = Host(mods, engine=engine, **options)
    if engine is not None:
        host.add_npc("sable", Talker(engine))
    heard: list[Any] = []
    host.subscribe("*", lambda event: heard.append((host.frame, event.name, *event.fields.values())))
    return host, heard


def test_words_stream_over_frames(write_mod: WriteMod, mods: Path) -> None:
    write_mod(
        "harbour",
        """
        @on("player_near")
        async def greet(mod, event):
            reply = mod.npc("sable").say(event.text)
            async for words in reply:
                mod.emit("subtitle", text=words)
            await seconds(2)
            mod.emit("subtitle", text="")
        """,
    )
    engine = FakeEngine(["The lamp is lit."])
    host, heard = start(mods, engine)
    host.emit("player_near", text="Good evening.")
    run_ticks(host, 200)
    assert [words for _, _, words in heard] == ["The", " lamp", " is", " lit.", ""]
    frames_of_words = [frame for frame, _, words in heard if words]
    assert frames_of_words == sorted(set(frames_of_words)), "one word a frame, as the engine spoke them"
    assert heard[-1][0] - heard[-2][0] in (120, 121)
    assert engine.requests[0].text == "Good evening."


def test_await_reply_gives_the_whole_text(write_mod: WriteMod, mods: Path) -> None:
    write_mod(
        "ask", '@on("go")\nasync def go(mod, e):\n    mod.emit("all", text=await mod.npc("sable").say("?"))\n'
    )
    host, heard = start(mods, FakeEngine(["Two words."]))
    host.emit("go")
    run_ticks(host, 10)
    assert [text for _, _, text in heard] == ["Two words."]


def test_a_failed_reply_raises_inside_the_coroutine_alone(write_mod: WriteMod, mods: Path) -> None:
    write_mod(
        "brave",
        """
        from modkit.errors import EngineDied

        @on("go")
        async def go(mod, event):
            try:
                async for words in mod.npc("sable").say("?"):
                    mod.emit("said", text=words)
            except EngineDied as error:
                mod.emit("failed", text=str(error))

        @on("go")
        async def careless(mod, event):
            await mod.npc("sable").say("?")
        """,
    )
    host, heard = start(mods, FakeEngine([("One", EngineDied("broken"))]))
    host.emit("go")
    run_ticks(host, 10)
    assert [entry[1:] for entry in heard] == [("said", "One"), ("failed", "broken")]
    report = host.report["brave"]
    assert (report.state, report.failures) == ("running", 1)
    assert "await mod.npc" in (report.last_error or "")


def test_a_dead_engine_stops_no_frame(write_mod: WriteMod, mods: Path) -> None:
    write_mod("beat", '@on("tick")\ndef tick(mod, event):\n    mod.emit("beat")\n')
    engine = FakeEngine()
    host, heard = start(mods, engine)
    engine.die("an assertion")
    run_ticks(host, 5)
    assert len(heard) == 5
    assert host.engine_failure == "an assertion"


def test_an_exception_in_a_coroutine_is_reported_and_the_mod_goes_on(write_mod: WriteMod, mods: Path) -> None:
    write_mod(
        "late",
        """
        @on("go")
        async def go(mod, event):
            await seconds(0.5)
            raise LookupError("half a second too late")

        @every(1)
        def beat(mod):
            mod.emit("beat")
        """,
    )
    host, heard = start(mods)
    host.emit("go")
    run_ticks(host, 180)
    report = host.report["late"]
    assert (report.failures, len(heard)) == (1, 3)
    assert "half a second too late" in (report.last_error or "")
    assert "tasks.py" not in (report.last_error or "")


@pytest.mark.parametrize(("dt", "expected"), [(1 / 60, 120), (0.1, 20), (1 / 3, 6), (5.0, 1)])
def test_seconds_are_game_time_whatever_the_frame_rate(
    write_mod: WriteMod, mods: Path, dt: float, expected: int
) -> None:
    write_mod("nap", '@on("go")\nasync def go(mod, e):\n    await seconds(2)\n    mod.emit("woke")\n')
    host, heard = start(mods)
    host.tick(0)
    host.emit("go")
    host.tick(0)
    began = host.frame
    run_ticks(host, expected, dt)
    assert heard == [(began + expected, "woke")]


def test_frames_are_frames_and_events_hand_over_their_fields(write_mod: WriteMod, mods: Path) -> None:
    write_mod(
        "wait",
        """
        @on("go")
        async def go(mod, _):
            await frames(3)
            mod.emit("three")
            opened = await event("door_opened")
            mod.emit("opened", side=opened.side)
        """,
    )
    host, heard = start(mods)
    host.emit("door_opened", side="too early")
    host.emit("go")
    run_ticks(host, 4)
    host.emit("door_opened", side="north")
    host.emit("door_opened", side="too late")
    host.tick(0.1)
    assert heard == [(4, "three"), (5, "opened", "north")]


def test_every_keeps_its_beat_and_makes_up_for_nothing(write_mod: WriteMod, mods: Path) -> None:
    write_mod("beat", '@every(0.5)\ndef beat(mod):\n    mod.emit("beat", at=round(mod.time, 3))\n')
    host, heard = start(mods)
    run_ticks(host, 30, 0.1)
    assert [at for _, _, at in heard] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    heard.clear()
    host.tick(10.2)
    run_ticks(host, 8, 0.1)
    assert [at for _, _, at in heard] == [13.2, 13.5, 14.0]


def test_an_async_every_waits_for_its_last_call(write_mod: WriteMod, mods: Path) -> None:
    write_mod("slow", '@every(1)\nasync def go(mod):\n    mod.emit("begin")\n    await seconds(2.5)\n')
    host, heard = start(mods)
    run_ticks(host, 95, 0.1)
    assert [round(frame / 10) for frame, *_ in heard] == [1, 4, 7]


def test_after_and_spawn_belong_to_the_mod_and_can_be_called_off(write_mod: WriteMod, mods: Path) -> None:
    write_mod(
        "plans",
        """
        @on("ready")
        def ready(mod, event):
            mod.after(0.3, lambda mod: mod.emit("kept"))
            mod.after(0.3, lambda mod: mod.emit("dropped")).remove()
            mod.spawn(walk(mod, "left"))
            mod.spawn(walk(mod, "right"))

        async def walk(mod, side):
            for step in range(2):
                mod.emit("step", side=side, step=step)
                await frames(1)
        """,
    )
    host, heard = start(mods)
    run_ticks(host, 10, 0.1)
    assert [entry for entry in heard if entry[1] == "step"] == [
        (1, "step", "left", 0),
        (1, "step", "right", 0),
        (2, "step", "left", 1),
        (2, "step", "right", 1),
    ]
    assert [entry[1] for entry in heard].count("kept") == 1
    assert "dropped" not in [entry[1] for entry in heard]


def test_sleepers_are_not_looked_at_until_they_are_due(write_mod: WriteMod, mods: Path) -> None:
    write_mod(
        "dormitory",
        """
        @on("ready")
        def ready(mod, _):
            for n in range(1000):
                mod.spawn(nap(mod, n))

        async def nap(mod, n):
            await (seconds(100) if n % 2 else event("alarm"))
            mod.emit("awake", n=n)
        """,
    )
    host, heard = start(mods)
    host.tick(0.1)
    calls = host.report["dormitory"].calls
    run_ticks(host, 500, 0.1)
    assert host.report["dormitory"].calls == calls
    host.emit("alarm")
    run_ticks(host, 600, 0.1)
    assert [n for _, _, n in heard] == [*range(0, 1000, 2), *range(1, 1000, 2)]


def test_awaiting_what_the_host_does_not_know_is_explained(write_mod: WriteMod, mods: Path) -> None:
    write_mod(
        "lost",
        """
        class Odd:
            def __await__(self):
                yield 42

        @on("go")
        async def go(mod, event):
            await Odd()
        """,
    )
    host, _ = start(mods)
    host.emit("go")
    run_ticks(host, 2)
    assert "yields int" in (host.report["lost"].last_error or "")
    with pytest.raises(OptionError):
        seconds(float("nan"))
    with pytest.raises(OptionError):
        frames(0)


def test_any_object_with_ready_can_be_awaited(write_mod: WriteMod, mods: Path) -> None:
    write_mod(
        "own",
        """
        class Until:
            def __init__(self, when):
                self.ready = when
            def __await__(self):
                yield self

        @on("go")
        async def go(mod, event):
            await Until(lambda: mod.frame >= 5)
            mod.emit("five")
            await Until(lambda: 1 / 0)
        """,
    )
    host, heard = start(mods)
    host.emit("go")
    run_ticks(host, 10)
    assert heard == [(5, "five")]
    assert "ZeroDivisionError" in (host.report["own"].last_error or "")


def test_unloading_a_mod_cancels_the_replies_it_waits_for(write_mod: WriteMod, mods: Path) -> None:
    write_mod(
        "chatty",
        '@on("go")\nasync def go(mod, e):\n    await mod.npc("sable").say("?")\n    mod.emit("done")\n',
    )
    engine = FakeEngine(["word " * 1000])
    host, heard = start(mods, engine)
    host.emit("go")
    run_ticks(host, 5)
    host.unload("chatty")
    run_ticks(host, 2)
    assert [reply.finish for reply in host.npc("sable").replies] == ["cancelled"]
    assert heard == []


def test_a_coroutine_that_has_its_own_mod_unloaded_ends_cleanly(write_mod: WriteMod, mods: Path) -> None:
    write_mod(
        "leaver",
        """
        @on("go")
        async def go(mod, event):
            event.host.unload("leaver")
            await seconds(0)
            raise RuntimeError("nobody should get here")
        """,
    )
    host, _ = start(mods)
    host.emit("go", host=host)
    run_ticks(host, 3)
    assert (host.report["leaver"].state, host.report["leaver"].failures) == ("unloaded", 0)


def test_the_same_inputs_give_the_same_order_every_time(write_mod: WriteMod, mods: Path) -> None:
    for ident in ("a", "b", "c"):
        write_mod(
            ident,
            """
            @every(0.13)
            def beat(mod):
                mod.emit("beat", by=mod.id)

            @on("beat")
            async def answer(mod, event):
                await seconds(0.05)
                mod.emit("answer", by=mod.id, to=event.by)

            @on("go")
            async def talk(mod, event):
                async for words in mod.npc("sable").say("?"):
                    mod.emit("word", by=mod.id, text=words)
            """,
        )

    def run() -> list[Any]:
        engine = FakeEngine(["one two three four", "five six"], pace=0.4, slots=2)
        host, heard = start(mods, engine, clock=ManualClock(step=0.0001))
        host.emit("go")
        run_ticks(host, 120, 1 / 60)
        host.close()
        return [*heard, host.report]

    first = run()
    assert len(first) > 100
    assert run() == first

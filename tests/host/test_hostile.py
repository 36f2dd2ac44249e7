"""Ten hostile mods in one folder beside three good ones: the good ones notice nothing, the report names the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

from modkit.host import Host
from modkit.testing import FakeEngine
from tests.host.test_coroutines import Talker

WriteMod = Callable[..., Path]

GOOD = """
    @on("count")
    def count(mod, event):
        mod.emit("counted", n=event.n)
    """
GOOD_ASYNC = """
    @on("count")
    async def count(mod, event):
        await frames(2)
        mod.emit("counted", n=event.n)
    """
GOOD_KEEPER = """
    @on("count")
    def count(mod, event):
        mod.storage["n"] = event.n
        mod.emit("counted", n=event.n)

    @on("ready")
    async def talk(mod, event):
        while True:
            async for words in mod.npc("sable").say("?"):
                mod.emit("word")
            await seconds(1)
    """
HOSTILE = {
    "raises": """
        @on("ready")
        @on("count")
        @on("tick")
        @on("unload")
        def no(mod, event):
            raise RuntimeError("in every hook")

        @every(0.01)
        def no_timer(mod):
            raise RuntimeError("in every hook")

        @save
        def no_save(mod):
            raise RuntimeError("in every hook")
        """,
    "loops": '@on("count")\ndef count(mod, event):\n    while True:\n        pass\n',
    "recurses": '@on("count")\ndef count(mod, event):\n    count(mod, event)\n',
    "hoards": '@on("count")\ndef count(mod, event):\n    big = [None] * (1 << 27)\n',
    "sleeps": 'import time\n@on("count")\ndef count(mod, event):\n    time.sleep(0.35)\n',
    "juggles": """
        handles = []

        @on("count")
        def count(mod, event):
            for handle in handles:
                handle.remove()
            handles[:] = [mod.on("count", lambda mod, event: handles[1].remove()), mod.on("count", count)]
            raise KeyError("a handler removed while it is dispatched")
        """,
    "reloads": '@on("count")\ndef count(mod, event):\n    event.host.reload("reloads", now=True)\n',
    "leaves": """
        @on("count")
        async def count(mod, event):
            await frames(1)
            event.host.unload("leaves")
            await frames(1)
            raise RuntimeError("nobody gets here")
        """,
    "crooked": "",
    "circle_a": "",
    "circle_b": "",
}
MANIFESTS = {
    "crooked": 'id = "crooked\nversion = [',
    "circle_a": 'id = "circle_a"\nrequires = ["circle_b"]',
    "circle_b": 'id = "circle_b"\nrequires = ["circle_a"]',
}
FRAMES = 10_000


def test_the_good_mods_get_every_event_in_order_and_the_report_names_each_culprit(
    write_mod: WriteMod, mods: Path, tmp_path: Path
) -> None:
    for ident, script in (("a_good", GOOD), ("m_good", GOOD_ASYNC), ("z_good", GOOD_KEEPER)):
        write_mod(ident, script)
    for ident, script in HOSTILE.items():
        write_mod(ident, dedent(script), toml=MANIFESTS.get(ident))
    engine = FakeEngine(["The lamp is lit, the sea is quiet."])
    heard: dict[str, list[int]] = {"a_good": [], "m_good": [], "z_good": []}
    words = []
    with Host(mods, engine=engine, save=tmp_path / "a.save", watchdog="interrupt", hang_ms=300) as host:
        host.add_npc("sable", Talker(engine))
        host.subscribe("counted", lambda event: heard[event.source].append(event.n))
        host.subscribe("word", words.append)
        for n in range(FRAMES):
            host.emit("count", n=n, host=host)
            host.tick(1 / 60)
        host.tick(1 / 60)
        host.tick(1 / 60)
        report = host.report
    for ident, counted in heard.items():
        assert counted == list(range(FRAMES)), ident
        assert (report[ident].state, report[ident].failures) == ("running", 0)
    assert len(words) > 500
    for ident, state, sentence in (
        ("raises", "suspended", "times in a row, last with RuntimeError: in every hook"),
        ("loops", "suspended", "count() for 'count' took"),
        ("recurses", "suspended", "RecursionError"),
        ("hoards", "suspended", "await frames(1)"),
        ("sleeps", "suspended", "await frames(1)"),
        ("juggles", "suspended", "KeyError"),
        ("reloads", "suspended", "reloaded from inside the frame 5 times in 600 frames; let it load once"),
        ("leaves", "unloaded", ""),
        ("crooked", "refused", "not valid TOML"),
        ("circle_a", "refused", "circle_a → circle_b → circle_a need each other in a circle; take one requires out"),
        ("circle_b", "refused", "in a circle"),
    ):
        one = report[ident]
        assert one.state == state and sentence in (one.problem or ""), (ident, one.state, one.problem)
        assert state != "suspended" or f"host.resume({ident!r})" in (one.problem or "")

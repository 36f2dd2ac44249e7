"""What a mod in a process of its own can ask for: as in the frame, only later; what it cannot have says so by name."""

from __future__ import annotations

import ast
import inspect
import random
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modkit.errors import GrammarError, ModError, ProtocolError
from modkit.host import Api, Host
from modkit.host.deeds import ModActions
from modkit.host.worker_actions import Declared, describe
from modkit.host.worker_calls import Calls
from modkit.host.worker_face import FarActions, FarApi, FarNPC, Game
from modkit.persona import NPC
from modkit.persona.action import Action
from modkit.persona.actions import Actions
from modkit.testing import FakeEngine, FakeRequest, load_mod, run_ticks
from tests.host.test_worker_mods import Game as Playing
from tests.host.test_worker_mods import WriteMod, manifest
from tests.persona.support import built

PAGE = (Path(__file__).parents[2] / "docs" / "mods.md").read_text(encoding="utf-8")


def public(kind: type) -> set[str]:
    """Names on the class, and those that its methods set on the object."""
    found = set(dir(kind))
    for one in kind.__mro__[:-1]:
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(one)))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found |= {node.attr} if ast.unparse(node.value) == "self" else set()
    return {name for name in found if not name.startswith("_")}


def missing() -> dict[str, set[str]]:
    """The page's table of what a mod in a process of its own does not have."""
    section = PAGE.split("## A process of its own")[1].split("\n## ")[0]
    rows = re.findall(r"^\| missing of `(\w+)` \| (.*?) \| (.+?) \|$", section, re.MULTILINE)
    return {kind: set(re.findall(r"`(\w+)`", names)) for kind, names, reason in rows if len(reason) > 10}


@pytest.mark.parametrize(
    ("here", "there", "word"), [(NPC, FarNPC, "npc"), (Actions, FarActions, "actions"), (Api, FarApi, "api")]
)
def test_every_name_of_the_frame_is_there_or_on_the_page_with_its_reason(here: type, there: type, word: str) -> None:
    shown = public(there) | (public(ModActions) if there is FarActions else set())  # which stands before it
    assert public(here) - shown == missing().get(word, set())
    for name in (public(here) & public(there)) - {"actions", "id"}:
        ours, theirs = getattr(here, name), getattr(there, name)
        if inspect.isfunction(ours):
            first = list(inspect.signature(ours).parameters)[:2]
            assert list(inspect.signature(theirs).parameters)[:2] == first, name


def test_what_is_missing_says_where_it_is() -> None:
    game = Game(lambda name, params: None)
    for thing, word in ((game.npc("sable"), "npc"), (game.npc("sable").actions, "actions")):
        for name in missing()[word]:
            with pytest.raises(ModError, match="in the game's process"):
                getattr(thing, name)
    with pytest.raises(ModError, match=r"lora= cannot be given"):
        game.npc("sable").say("?", lora="a.gguf")
    with pytest.raises(ModError, match="cannot go to another process"):
        game.npc("sable").say("?", facts=[object()])


# ---- both ways of running, one script ----

SCRIPT = """
    from typing import Annotated
    from modkit.errors import ActionRefused

    BAG = ["lamp", "rope"]

    @action("mara", when=lambda mod: len(BAG) > 0)
    def give(mod, item: Annotated[str, lambda: BAG], n: Annotated[int, range(1, 10)] = 1) -> str:
        "Hand it over."
        BAG.remove(item)
        mod.emit("received", item=item, n=n)
        return f"It is gone, the {item}."

    @action("mara")
    def refuse(mod):
        "Say no."
        raise ActionRefused("No and no.")

    @action("mara")
    def stumble(mod):
        "Fall."
        return 1 / 0

    @on("ready")
    def ready(mod, event):
        mod.npc("mara").actions.on_deed(lambda deed: mod.emit("deed", what=deed.name, outcome=deed.outcome))
        mod.emit("begun")

    @on("talk")
    async def talk(mod, event):
        reply = mod.npc("mara").say(event.text, facts=["It rains."], max_tokens=40)
        reply.on_mood(lambda mood: mod.emit("mood", what=mood))
        text = await reply
        mod.emit("said", text=text, tokens=reply.stats.generated_tokens > 0)

    @on("wheel")
    async def wheel(mod, event):
        try:
            mod.emit("wheel_is", choices=await mod.npc("mara").choices(2, "the storm"))
        except Exception as error:
            mod.emit("wheel_is", choices=str(error))

    @on("tell")
    def tell(mod, event):
        npc = mod.npc("mara")
        npc.remember("The lamp was stolen.")
        npc.hear("Bram", "The tide turns.")
        npc.interrupt()
    """


@pytest.fixture
def mara(tmp_path: Path) -> Iterator[Callable[[Callable[[FakeRequest], str]], NPC]]:
    made: list[NPC] = []

    def make(answer: Callable[[FakeRequest], str]) -> NPC:
        persona = built(tmp_path, "Player: Hm?\nMara: Yes.\n")
        made.append(NPC(persona, FakeEngine(answer), moods=["wary"], summaries=False))
        return made[-1]

    yield make
    for npc in made:
        npc.close()


def speak(request: FakeRequest) -> str:
    if "numbered list" in request.text:
        return "1. Will it hold.\n2. Who lit it.\n3. Good night.\n4. More."
    return '<mood:wary>So. <do:give {"item":"lamp","n":3}><do:refuse {}><do:stumble {}>'


@pytest.mark.parametrize("run", ["frame", "worker"])
def test_the_same_script_in_the_frame_and_in_its_process(
    run: str, write_mod: WriteMod, mods: Path, mara: Callable[..., NPC]
) -> None:
    write_mod("harbour", SCRIPT, toml=f'id = "harbour"\nrun = "{run}"\n')
    npc = mara(speak)
    game = Playing(mods, engine=npc.engine)
    game.host.add_npc("mara", npc)
    game.until(lambda: game.named("begun") and len(npc.actions) == 3)
    game.until(lambda: len(npc.actions.offered().actions) == 3)
    line = npc.actions.offered().find("give")
    assert line is not None and line.line == 'give(item: "lamp" | "rope", n?: 1 to 9): Hand it over.'
    game.host.emit("talk", text="Please.")
    game.until(lambda: game.named("said") and game.named("received"))
    assert game.named("said") == [("So. ", True)]
    assert game.named("received") == [("lamp", 3)]
    assert game.named("mood") == [("wary",)]
    game.until(lambda: len(game.named("deed")) == 3)
    assert {name for name, _ in game.named("deed")} == {"give", "refuse", "stumble"}
    facts = {"It is gone, the lamp.", "No and no.", "stumble did not work."}
    game.until(lambda: set(npc.actions._facts) == facts)
    assert game.host.report["harbour"].failures == 1, "only stumble() is a mistake"
    game.until(lambda: (found := npc.actions.offered().find("give")) and "lamp" not in found.line)
    game.host.emit("wheel")
    game.until(lambda: game.named("wheel_is"))
    assert game.named("wheel_is") == [(["Will it hold.", "Who lit it."],)]
    game.host.emit("tell")
    game.until(lambda: any("stolen" in memory.text for memory in npc.mind.recall("stolen lamp")))
    assert any("Bram" in text for text in npc._overheard)
    assert "It rains." in npc.engine.requests[0].text  # type: ignore[attr-defined]
    game.host.unload("harbour")
    game.until(lambda: len(npc.actions) == 0)
    game.host.close()


def test_a_process_that_is_gone_can_do_nothing_and_comes_back_with_its_actions(
    write_mod: WriteMod, mods: Path, mara: Callable[..., NPC]
) -> None:
    write_mod("harbour", SCRIPT + "\n    import os\n    @on('die')\n    def die(mod, event):\n        os._exit(1)\n",
              toml=manifest("harbour"))  # fmt: skip
    npc = mara(speak)
    game = Playing(mods, engine=npc.engine)
    game.host.add_npc("mara", npc)
    game.until(lambda: len(npc.actions) == 3)
    game.host.emit("die")
    game.until(lambda: game.host.report["harbour"].notice)
    assert len(npc.actions) == 0, "nobody is there to do it"
    game.until(lambda: len(npc.actions) == 3)
    game.until(lambda: len(npc.actions.offered().actions) == 3)
    game.host.close()


# ---- mods and mods ----

LIGHTHOUSE = """
    class Lamp:
        lit = False
        def light(self, who="nobody"):
            self.lit = True
            mod_.emit("lit", by=who)
            return [who, 2]
        def fail(self):
            return 1 / 0
        def junk(self):
            return object()
        async def wait(self):
            await frames(3)
            return "waited"

    lamp = Lamp()

    @on("ready")
    def ready(mod, event):
        global mod_
        mod_ = mod
        mod.offer(lamp, "1.2")
    """
KEEPER = """
    @on("dusk")
    async def dusk(mod, event):
        lamp = mod.api("lighthouse", ">=1,<2")
        while not lamp.available:
            await frames(1)
        told = []
        for name, arguments in (("light", ["Bram"]), ("lit", []), ("wait", []), ("fail", []), ("gone", []), ("_x", [])):
            try:
                told.append(await lamp.later(name, *arguments))
            except Exception as error:
                told.append(f"{type(error).__name__}: {error}")
        mod.emit("told", told=told, newer=mod.api("lighthouse", ">=2").available)
        lamp.light()
    """


@pytest.mark.parametrize("one", ["frame", "worker"])
@pytest.mark.parametrize("other", ["frame", "worker"])
def test_mods_reach_each_other_wherever_they_run(one: str, other: str, write_mod: WriteMod, mods: Path) -> None:
    write_mod("lighthouse", LIGHTHOUSE, toml=f'id = "lighthouse"\nrun = "{one}"\n')
    write_mod("keeper", KEEPER, toml=f'id = "keeper"\nrun = "{other}"\nrequires = ["lighthouse"]\n')
    game = Playing(mods)
    game.host.emit("dusk")
    game.until(lambda: game.named("told") and len(game.named("lit")) == 2)
    ((told, newer),) = game.named("told")
    assert told[:3] == [["Bram", 2], True, "waited"] and newer is False
    assert "ZeroDivisionError in fail() of mod 'lighthouse'" in told[3]
    assert "ModError" in told[4] and "'gone'" in told[4] and told[5].startswith("ModError")
    assert game.named("lit") == [("Bram",), ("nobody",)]
    game.until(lambda: game.host.report["lighthouse"].failures == 1)
    assert game.host.report["keeper"].failures == 0
    game.host.close()


def test_what_an_offer_is_asked_for_is_answered_also_when_its_process_goes(write_mod: WriteMod, mods: Path) -> None:
    script = LIGHTHOUSE + "\n    import os\n    @on('die')\n    def die(mod, event):\n        os._exit(1)\n"
    write_mod("lighthouse", script, toml=manifest("lighthouse"))
    write_mod("keeper", '@on("never")\ndef never(mod, event):\n    pass\n')
    game = Playing(mods)
    keeper = game.host._roster.mods["keeper"]
    lamp = keeper.api("lighthouse")
    game.until(lambda: lamp.available)
    with pytest.raises(ModError, match=r"value in the process of another mod.*later\('lit'\)"):
        _ = lamp.lit
    junk, odd = lamp.later("junk"), lamp.light(object())
    game.until(lambda: junk.done and odd.done)
    assert "cannot go to another process" in str(junk.error) and "plain values only" in str(odd.error)
    game.host.emit("die")
    waits = lamp.wait()
    game.until(lambda: waits.done)
    assert "did not answer" in str(waits.error)
    assert not lamp.available
    game.until(lambda: lamp.available)
    again = lamp.light("Ann")
    game.until(lambda: again.done)
    assert again._value() == ["Ann", 2]
    game.host.close()


def test_later_is_the_same_in_one_frame(write_mod: WriteMod, mods: Path) -> None:
    write_mod("lighthouse", LIGHTHOUSE)
    host, mod = load_mod(mods / "lighthouse")
    run_ticks(host, 1)
    lamp = mod.api("lighthouse")
    assert lamp.later("light", "Ann")._value() == ["Ann", 2]
    waits = lamp.later("wait")
    assert not waits.done
    run_ticks(host, 5)
    assert waits._value() == "waited"
    with pytest.raises(ModError, match="await the answer"):
        lamp.later("wait").result()
    host.close()


# ---- what is not believed ----


def told(**more: Any) -> dict[str, Any]:
    return {"name": "give", "does": "Give.", "parameters": {}, **more}


def test_a_description_that_is_none_is_refused() -> None:
    one = {"asked": False, "required": True}
    for given in (
        told(name=3), told(does=""), told(parameters=[]), told(parameters={str(n): {} for n in range(40)}),
        told(parameters={"no name": {"kind": "string", **one}}), told(parameters={"x": {"kind": "object", **one}}),
        told(parameters={"x": {"kind": ["integer", "a", 3], **one}}),
        told(parameters={"x": {"kind": {"enum": []}, **one}}),
        told(parameters={"x": {"kind": {"of": {"of": {"of": {"of": "string"}}}}, **one}}),
        told(parameters={"x": {"kind": {"enum": [[1]]}, **one}}),
    ):  # fmt: skip
        with pytest.raises((ProtocolError, ModError)):
            Declared(given, lambda arguments: "")
    declared = Declared(told(parameters={"x": {"kind": "string", "asked": True, "required": True}}), lambda a: "")
    for choices in ({}, {"y": []}, {"x": "abc"}, {"x": [[1]]}, [1]):
        with pytest.raises(ProtocolError):
            declared.learn(choices)
    assert not declared.possible()


def test_what_can_be_said_of_a_parameter_comes_across() -> None:
    def kinds(mod, a: str, b: int, c: float, d: bool, e: list[str], f: int | None = None) -> None:  # type: ignore[no-untyped-def]
        "All of them."

    action = Action(kinds, given={"mod": None})
    given = describe(action)
    copy = Action(Declared(given, lambda arguments: "").function)
    assert copy.schema["required"] == action.schema["required"]
    assert copy.schema["properties"] == action.schema["properties"]

    def deep(where: dict[str, int]) -> None:
        "A map."

    with pytest.raises((ModError, GrammarError), match="where"):
        describe(Action(deep))


def test_no_message_of_a_process_harms_the_game(write_mod: WriteMod, mods: Path, mara: Callable[..., NPC]) -> None:
    """Seeded nonsense under every name that is known, with every parameter there is."""
    write_mod("liar", '@on("x")\ndef x(mod, e):\n    pass\n')
    write_mod("lighthouse", LIGHTHOUSE)
    npc = mara(speak)
    host = Host(mods, engine=npc.engine)
    host.add_npc("mara", npc)
    run_ticks(host, 2)
    chance = random.Random(7)
    kind = {"kind": "string", "asked": True, "required": False}
    junk: list[Any] = [
        None, True, -1, 2**63, 3.5, float("inf"), float("nan"), "", "x" * 5000, b"\xff", [], ["a"], [[1, 2]], {},
        {"a": kind}, {"max_tokens": -3}, {"facts": 7}, {"a": ["b"]}, ["say"] * 300, {"state": [1]}, {"present": 1},
    ]  # fmt: skip
    good: dict[str, list[Any]] = {
        "id": [1, 2, 3], "n": [1, 2, 3], "npc": ["mara"], "method": ["say", "greet", "choices", "interrupt", "forget"],
        "arguments": [[], ["Hm?"], [2, "x"]], "options": [{}, {"max_tokens": 5}], "name": ["light", "give", "lit"],
        "does": ["Do it."], "parameters": [{}, {"a": kind}], "choices": [None, {}, {"a": ["b"]}], "fact": ["So."],
        "version": [None, "1.0"], "calls": [["go"]], "values": [["it"]], "ident": ["lighthouse", "liar"], "range": [""],
        "value": [1], "error": [None, "no"],
    }  # fmt: skip
    sent: list[str] = []
    calls = Calls(host._roster.mods["liar"], host, lambda name, params: sent.append(name))
    calls.begin()
    taken = 0
    for _ in range(4000):
        message = chance.choice([*calls._methods, "unknown"])
        wrong = chance.choice([*good, *good, None])
        params = {name: chance.choice(junk if name == wrong else values) for name, values in good.items()}
        try:
            calls.take(message, params)
            taken += 1
        except (ProtocolError, ModError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
            calls.drop("it lied")  # as a process that is ended
            calls.begin()
        if chance.random() < 0.1:
            host.resume("liar")
            calls.pass_words_on()
            npc.engine.tick()
    assert taken > 500 and len(sent) > 50
    calls.drop("over")
    assert len(npc.actions) == 0 and host._roster.mods["liar"]._offered is None
    host.close()


def test_a_greeting_belongs_to_the_mod_that_asked_for_it(
    write_mod: WriteMod, mods: Path, mara: Callable[..., NPC]
) -> None:
    write_mod("door", '@on("go")\ndef go(mod, e):\n    mod.npc("mara").greet(["It rains."])\n')
    npc = mara(lambda request: "Good evening to you, stranger. " * 20)
    host, _ = load_mod(mods / "door", engine=npc.engine)
    host.add_npc("mara", npc)
    host.emit("go")
    run_ticks(host, 3)
    assert npc.speaking
    host.unload("door")
    run_ticks(host, 3)
    assert not npc.speaking
    host.close()

"""An engine in a child process: the face of Engine, and a child that may die in any way at any time."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modkit import Engine, errors
from modkit.ipc import IsolatedEngine
from modkit.ipc.child_worker import ChildWorker
from modkit.ipc.isolated import _delay
from modkit.ipc.python import find_python
from modkit.ipc.shared import Region
from modkit.native.worker import ORDERED, Worker
from modkit.persona import NPC, Save, build
from tests.conftest import finish_all, wait_until

# In CI a few; MODKIT_KILLS=200 is the promise in full.
KILLS = int(os.environ.get("MODKIT_KILLS", "15"))
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc and stops processes")


@pytest.fixture
def isolated(tiny: Path) -> Iterator[Callable[..., IsolatedEngine]]:
    made: list[IsolatedEngine] = []

    def make(model: Path = tiny, **settings: object) -> IsolatedEngine:
        engine = IsolatedEngine(model, **settings)  # type: ignore[arg-type]
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


def test_it_says_what_an_engine_in_this_process_says(tiny: Path, isolated: Callable[..., IsolatedEngine]) -> None:
    options = {"max_tokens": 40, "seed": 11, "temperature": 0.9, "stop": ["zzz"]}
    messages = [{"role": "user", "content": "Who keeps the lamp? <|im_end|>"}]
    said = []
    for engine in (Engine(tiny, context=512), isolated(context=512)):
        early = engine.chat(messages, **options)  # type: ignore[arg-type]
        wait_until(engine, lambda engine=engine: engine.ready)  # type: ignore[misc]
        late = engine.generate("The tide", **options)
        finish_all(engine, [early, late])
        both = (early, late)
        said.append([(s.text, s.tokens, s.finish, s.stats.prompt_tokens, s.stats.generated_tokens) for s in both])
        assert engine.info["parameters"] > 0
        assert engine.name == "test model"
        engine.close()
    assert said[0] == said[1]


def test_every_call_of_a_worker_has_its_counterpart() -> None:
    for name, member in vars(Worker).items():
        if not name.startswith("_") and (callable(member) or isinstance(member, property)):
            assert name in vars(ChildWorker), f"ChildWorker must say what {name} does when the worker is elsewhere"


def test_errors_of_a_request_arrive_as_themselves(isolated: Callable[..., IsolatedEngine]) -> None:
    engine = isolated(context=64)
    with pytest.raises(errors.OptionError):
        engine.generate("x", max_tokens=0)
    long = engine.generate("lamp " * 500)
    with pytest.raises(errors.ContextOverflow):
        long.result(30)
    assert engine.generate("the", max_tokens=3).result(30)


def test_a_cancelled_reply_ends_and_a_paused_engine_is_no_hang(isolated: Callable[..., IsolatedEngine]) -> None:
    engine = isolated(context=4096, hang_timeout=0.6)
    stream = engine.generate("the lamp", max_tokens=4000)
    wait_until(engine, lambda: len(stream.text) > 20)
    engine.pause()
    until = time.monotonic() + 1.5
    wait_until(engine, lambda: time.monotonic() > until)
    assert not stream.done
    assert engine.restarts == 0
    engine.resume()
    heard = len(stream.text)
    wait_until(engine, lambda: len(stream.text) > heard + 20)
    stream.cancel()
    wait_until(engine, lambda: stream.done)
    assert stream.finish == "cancelled"


def test_a_host_that_stays_away_finds_everything_when_it_comes_back(isolated: Callable[..., IsolatedEngine]) -> None:
    engine = isolated(context=2048, hang_timeout=0.5)
    wait_until(engine, lambda: engine.ready)
    streams = [engine.generate("the lamp", max_tokens=1500, seed=seed) for seed in range(2)]
    time.sleep(1.2)  # not for luck: this is the absence
    finish_all(engine, streams)
    assert [s.finish for s in streams] == ["length", "length"]
    assert [len(s.tokens) for s in streams] == [1500, 1500]
    assert engine.restarts == 0


@linux
@pytest.mark.parametrize("how", ["kill", "stop", "assertion", "segfault"])
def test_whatever_ends_the_child_ends_its_streams_and_the_next_reply_works(
    how: str, isolated: Callable[..., IsolatedEngine]
) -> None:
    engine = isolated(context=4096, slots=2, hang_timeout=1.0)
    streams = [engine.generate("the lamp", max_tokens=4000) for _ in range(3)]
    wait_until(engine, lambda: all(len(s.text) > 10 for s in streams[:2]))
    first = engine.pid
    assert first is not None
    if how == "assertion":
        engine._child.fail_assertion()
    else:
        os.kill(first, {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "segfault": signal.SIGSEGV}[how])
    finish_all(engine, streams)
    assert {s.finish for s in streams} == {"error"}
    assert {type(s.error) for s in streams} == {errors.EngineDied}
    assert len(streams[0].text) > 10, "what was said before stays"
    assert engine.loading
    again = engine.chat([{"role": "user", "content": "still there?"}], max_tokens=5)
    assert again.result(60) is not None
    assert again.finish == "length"
    assert engine.pid not in (None, first)
    assert not Path(f"/proc/{first}").exists()


def test_a_child_killed_again_and_again_while_eight_speak(tmp_path: Path, models: Path) -> None:
    """No exception but the streams' own errors, saves whole, and the next reply works."""
    dump = tmp_path / "dump.jsonl"
    dump.write_text('{"speaker": "Sable", "text": "The lamp went out in the storm."}\n')
    build([dump], "Sable", tmp_path / "sable.persona")
    chance = random.Random(2)
    slowest = 0.0
    with (
        IsolatedEngine(models / "small.gguf", context=512, slots=8) as engine,
        Save.open(tmp_path / "save.db") as save,
    ):
        cast = [NPC(tmp_path / "sable.persona", engine, save, id=f"npc{i}") for i in range(8)]
        spoken = 0
        for _ in range(KILLS):
            wait_until(engine, lambda: engine.ready)
            replies = [npc.say("Did the lamp go out?", max_tokens=200) for npc in cast]
            after = chance.random() * 0.15
            start = time.monotonic()
            wait_until(engine, lambda start=start, after=after: time.monotonic() - start > after)  # type: ignore[misc]
            pid = engine.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            finish_all(engine, replies)
            # a conversation that has grown for a hundred turns may be too long once; the NPC makes room then
            assert {type(r.error) for r in replies} <= {errors.EngineDied, errors.ContextOverflow, type(None)}
            assert all((r.finish == "error") == (r.error is not None) for r in replies)
            start = time.monotonic()
            following = engine.generate("the", max_tokens=2)
            following.result(30)
            assert following.finish in ("stop", "length")
            slowest = max(slowest, time.monotonic() - start)
            spoken += sum(bool(r.text) for r in replies)
        assert engine.restarts >= KILLS
        assert spoken, "nobody ever spoke: the kills came too soon to say anything"
        kept = {npc.id: [(turn.words, turn.reply) for turn in npc.transcript] for npc in cast}
        for npc in cast:
            npc.close()
        last = cast[0].transcript[-1]
    with Save.open(tmp_path / "save.db") as save:
        for id, turns in kept.items():
            assert [(turn.words, turn.reply) for turn in save.turns(id)] == turns
    assert last.reply
    print(f"{KILLS} kills; the slowest next reply took {slowest:.2f} s")


@linux
def test_the_child_ends_with_its_parent_whatever_it_is_doing(tiny: Path) -> None:
    code = (
        "import sys, time\nfrom modkit.ipc import IsolatedEngine\n"
        f"engine = IsolatedEngine({str(tiny)!r}, context=8192)\n"
        "stream = engine.generate('the', max_tokens=8000)\n"
        "while not stream.text: engine.tick()\n"
        "print(engine.pid, flush=True)\n"
        "while True: engine.tick(); time.sleep(0.001)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout as out:
        child = int(out.readline())
        assert Path(f"/proc/{child}").exists()
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 10
    while running(child):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.005)


def running(pid: int) -> bool:
    """A killed process whose new parent has not looked yet is over all the same."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_model_that_cannot_be_loaded_is_said_once(tmp_path: Path, isolated: Callable[..., IsolatedEngine]) -> None:
    with pytest.raises(errors.ModelError, match="does not exist"):
        isolated(tmp_path / "missing.gguf")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(range(200)))
    engine = isolated(broken)
    stream = engine.generate("the")
    with pytest.raises(errors.ModelError):
        wait_until(engine, lambda: False)
    assert isinstance(stream.error, errors.ModelError)
    engine.tick()
    with pytest.raises(errors.ModelError):
        engine.generate("again")
    wait_until(engine, lambda: engine.pid is None or not running(engine.pid), 10)


def test_a_child_that_never_comes_up_is_given_up_with_its_last_words(
    tmp_path: Path, isolated: Callable[..., IsolatedEngine]
) -> None:
    fake = tmp_path / "python3"
    fake.write_text("#!/bin/sh\necho 'no module named modkit' >&2\nexit 3\n")
    fake.chmod(0o755)
    engine = isolated(python=fake)
    stream = engine.generate("the")
    with pytest.raises(errors.EngineDied, match="ended with code 3: no module named modkit; that was 5 times"):
        wait_until(engine, lambda: False)
    assert isinstance(stream.error, errors.EngineDied)


def fake_child(folder: Path, program: str) -> Path:
    """A Python that runs this instead of the engine's child, once it has been asked to start and has said hello."""
    fake = folder / "python3"
    root = Path(__file__).resolve().parent.parent.parent
    fake.write_text(
        f"#!{sys.executable}\nimport os, random, sys, time\nsys.path.insert(0, {str(root)!r})\n"
        "from modkit.ipc.framing import encode\nfrom modkit.ipc.shared import Outlet, Region\n"
        "from tests.ipc.fuzz import event_body, frame\n"
        "os.read(0, 4096)\n"
        "os.write(1, encode([1, 1, {'protocol': 1}]))\n"
        "info = {'name': 'x', 'context': 64, 'chat_template': None, 'bos': '', 'eos': ''}\n"
        "started = encode([3, 'info', info]) + encode([4, bytes([146, 0, 1])])\n" + program
    )
    fake.chmod(0o755)
    return fake


@pytest.mark.parametrize("way", ["memory", "pipe"])
def test_a_child_that_talks_nonsense_is_replaced_and_no_frame_meets_an_exception(
    way: str, tmp_path: Path, isolated: Callable[..., IsolatedEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "pipe":
        monkeypatch.setattr(Region, "make", lambda: None)
    elif not ORDERED:
        pytest.skip("this processor does not keep the order of stores")
    fake = fake_child(
        tmp_path,
        f"say = Outlet(None, Region.open(sys.argv[-1])).write if {way == 'memory'} else lambda b: os.write(1, b)\n"
        "chance = random.Random(os.getpid())\n"
        "if chance.random() < 0.7:\n"
        "    say(started)\n"
        "for _ in range(300):\n"
        "    while (inside := event_body(chance)).startswith(bytes([0x94, 2, 1])): pass\n"  # a refusal is sense
        "    say(frame(chance, inside)[0])\n",
    )
    engine = isolated(python=fake)
    deadline = time.monotonic() + 6
    ends = 0
    while time.monotonic() < deadline and engine.restarts < 12:
        try:
            stream = engine.generate("the")
            while not stream.done and time.monotonic() < deadline:
                engine.tick()
                time.sleep(0.001)
            ends += isinstance(stream.error, errors.ModkitError)
        except errors.ModkitError:
            break  # five in a row that never spoke: it is given up, and says so
    assert ends
    assert engine.restarts >= 4


def test_a_child_that_has_started_cannot_say_that_it_never_could(
    tmp_path: Path, isolated: Callable[..., IsolatedEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Region, "make", lambda: None)
    refusal = "os.write(1, started + encode([2, 1, 'ModelError', 'the model is a fake']))\ntime.sleep(60)\n"
    engine = isolated(python=fake_child(tmp_path, refusal))
    try:
        wait_until(engine, lambda: engine.restarts >= 2)
    except errors.EngineDied as error:
        assert "it cannot start, and it has" in str(error)


@linux
def test_a_child_without_enough_memory_is_an_error_and_no_crash(isolated: Callable[..., IsolatedEngine]) -> None:
    engine = isolated(memory_limit=48 << 20)
    with pytest.raises((errors.LibraryError, errors.ModelError, errors.EngineError)):
        wait_until(engine, lambda: False)


def test_the_game_is_never_taken_for_a_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MODKIT_PYTHON", raising=False)
    game = tmp_path / "the-game"
    game.write_text("#!/bin/sh\n")
    game.chmod(0o755)
    real = find_python()
    assert Path(real).name.startswith("python")
    monkeypatch.setattr(sys, "executable", str(game))
    assert find_python() != str(game)
    monkeypatch.setattr(sys, "_base_executable", "", raising=False)
    monkeypatch.setattr(sys, "exec_prefix", str(tmp_path))
    monkeypatch.setattr(sys, "base_exec_prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.OptionError, match="give python="):
        find_python()
    with pytest.raises(errors.OptionError, match="not a program"):
        find_python(tmp_path / "missing")
    monkeypatch.setenv("MODKIT_PYTHON", str(game))
    assert find_python() == str(game), "what is named is believed"


def test_two_engines_in_two_processes_and_one_of_them_dies(isolated: Callable[..., IsolatedEngine]) -> None:
    one, other = isolated(context=2048), isolated(context=2048)
    streams = [engine.generate("the lamp", max_tokens=1500) for engine in (one, other)]
    wait_until(one, lambda: len(streams[0].text) > 10)
    wait_until(other, lambda: len(streams[1].text) > 10)
    assert one.pid is not None
    os.kill(one.pid, signal.SIGKILL)
    wait_until(one, lambda: streams[0].done)
    wait_until(other, lambda: streams[1].done)
    assert [s.finish for s in streams] == ["error", "length"]


def test_vectors_come_back_as_an_engine_in_this_process_makes_them(
    tiny: Path, isolated: Callable[..., IsolatedEngine]
) -> None:
    texts = ["the lamp", "the tide and the harbour", "oil"] * 40
    with Engine(tiny, context=512) as here:
        wanted = here.embed(texts).result(60)
    engine = isolated(context=512)
    speaking = engine.generate("the lamp", max_tokens=100)
    made = engine.embed(texts).result(60)
    assert made.shape == wanted.shape
    for row, other in zip(made.tolist(), wanted.tolist(), strict=True):
        # whoever shares a batch changes the last digits: the weights are 8 bits wide
        assert row == pytest.approx(other, abs=5e-3)
    assert speaking.result(60)
    with pytest.raises(errors.OptionError):
        engine.embed([])
    lost = engine.embed(texts)
    engine._child.kill()
    with pytest.raises(errors.EngineDied):
        lost.result(30)
    assert engine.embed(["again"]).result(60).shape == (1, made.shape[1])


def test_choices_are_weighed_and_grammars_hold_in_the_child_too(isolated: Callable[..., IsolatedEngine]) -> None:
    engine = isolated(context=512)
    shares = engine.ask("the lamp", ["yes", "no", "maybe"]).result(60)
    assert list(shares) == ["yes", "no", "maybe"] and sum(shares.values()) == pytest.approx(1)
    held = engine.generate("the lamp", grammar='root ::= "yes" | "no"', temperature=2, logprobs=2)
    assert held.result(60) in ("yes", "no")
    assert len(held.logprobs) == len(held.tokens) and len(held.logprobs[0].top) == 2


def test_choices_grammars_and_log_probabilities_cross(tiny: Path, isolated: Callable[..., IsolatedEngine]) -> None:
    found = []
    for engine in (Engine(tiny, context=512), isolated(context=512)):
        weights = engine.ask("Is the lamp lit?", [" yes", " no", " perhaps"]).result(60)
        stream = engine.generate("the", grammar='root ::= "lamp" | "tide"', logprobs=2, temperature=0)
        stream.result(60)
        found.append((weights, stream.text, len(stream.logprobs)))
        engine.pace(200)
        engine.late(5)
        with pytest.raises(errors.GrammarError):
            engine.generate("the", grammar="root ::= (").result(60)
        engine.close()
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    assert found[0][1:] == found[1][1:]
    assert found[1][1] in ("lamp", "tide")


def test_the_first_child_is_followed_at_once_and_those_in_a_hurry_a_little_later() -> None:
    assert [_delay(quick) for quick in (0, 1, 2, 3, 50)] == [0.0, 0.02, 0.04, 0.08, 0.25]


def test_a_child_says_hello_before_it_loads_what_it_serves_with() -> None:
    heavy = ["modkit.engine", "modkit.native", "modkit.persona", "_hashlib", "subprocess"]
    code = f"import sys, modkit.ipc.child\nprint([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"

"""Every sampler of llama.cpp through `sampler=`, and what is refused before it gets there."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from modkit import Engine, Sampler
from modkit.errors import EngineError, ModkitError, OptionError
from modkit.native.samplers import CHOOSERS, KINDS, PROFILES
from tests.conftest import finish_all

Make = Callable[..., Engine]
S = Sampler()
NAN, INF = float("nan"), float("inf")

# one of each, at a value that does something
EACH = [
    S.greedy(),
    S.dist(7),
    S.top_k(3).dist(1),
    S.top_p(0.5).dist(1),
    S.min_p(0.3).dist(1),
    S.typical(0.5).dist(1),
    S.temp(0.2).dist(1),
    S.temp_ext(1.0, 0.5, 1.2).dist(1),
    S.top_n_sigma(1.0).dist(1),
    S.top_k(10).xtc(0.9, 0.01, seed=3).dist(1),
    S.mirostat(3.0, 0.1, 50, seed=1),
    S.mirostat_v2(3.0, 0.1, seed=1),
    S.min_p(0.05).adaptive_p(0.3, 0.9, seed=1),
    S.penalties(1.5, 0.2, 0.2, 32).greedy(),
    S.dry(1.0, breakers=["!", "the"]).greedy(),
    S.logit_bias({ord("a"): 100.0}).greedy(),
    S.top_k(20).infill().dist(1),
]


def test_each_sampler_speaks_and_repeats_itself_by_its_seed(models: Path, make_engine: Make) -> None:
    engine = make_engine(models / "ends.gguf")
    assert {link.kind for sampler in EACH for link in sampler.links} == set(KINDS)
    for sampler in EACH:
        texts = {engine.generate("the lamp", sampler=sampler, max_tokens=20).result(60) for _ in range(2)}
        assert len(texts) == 1, sampler


def test_they_do_what_they_say(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny)

    def say(sampler: object, **options: object) -> str:
        return engine.generate("the lamp", sampler=sampler, max_tokens=30, **options).result(60)

    greedy = engine.generate("the lamp", temperature=0, max_tokens=30).result(60)
    assert say(S.greedy()) == say("deterministic") == say(S.top_k(1).dist()) == say(S.temp(0).dist()) == greedy
    usual = engine.generate("the lamp", max_tokens=30, seed=5).result(60)
    assert say("balanced", seed=5) == usual, "the profile is the defaults"
    assert say(S.temp(1).dist(5)) != say(S.temp(1).dist(6))
    first = engine.generate("the lamp", temperature=0, max_tokens=1)
    first.result(60)
    banned = engine.generate("the lamp", sampler=S.logit_bias({first.tokens[0]: -INF}).greedy(), max_tokens=30)
    banned.result(60)
    assert first.tokens[0] not in banned.tokens
    held = say(S.mirostat_v2(), grammar='root ::= "yes" | "no"')
    assert held in ("yes", "no")


def test_a_chain_goes_to_json_and_comes_back(tiny: Path, make_engine: Make) -> None:
    for sampler in [*EACH, *(Sampler.profile(name) for name in PROFILES), S.logit_bias({3: -INF, 5: 1.5})]:
        text = sampler.to_json()
        assert Sampler.from_json(text) == sampler
        assert Sampler.from_plain(json.loads(text)) == sampler
    engine = make_engine(tiny)
    stream = engine.generate("x", sampler=json.loads(S.temp(0.5).to_json()), max_tokens=3)
    finish_all(engine, [stream])
    assert stream.error is None


def test_a_chain_is_never_changed() -> None:
    first = S.top_k(5)
    second = first.temp(0.5)
    assert len(first.links) == 1 and len(second.links) == 2 and S.links == ()


def hostile() -> list[Callable[[], object]]:
    """Two hundred calls that must be refused, each with another wrong value."""
    wrong: list[Callable[[], object]] = []
    bad = [NAN, INF, -INF, -1, -0.5, 1e30, 2**40, "1", None, True, [], {}, b"x", 1 + 2j]
    for kind, known in KINDS.items():
        for name in known.values:
            for value in bad:
                link: dict[str, object] = {"kind": kind, name: value}
                for other, (low, _, whole, default) in known.values.items():
                    if other != name and default is None:
                        link[other] = int(low) if whole else low
                wrong.append(lambda link=link: Sampler.from_plain([link]))
    for seed in (-1, 2**32, 1.5, "x", True, NAN):
        wrong.append(lambda seed=seed: S.dist(seed))
    for biases in ({}, [], "x", {-1: 1}, {2**40: 1}, {"a": 1}, {1: NAN}, {1: INF}, {1: "x"}, {True: 1}, {1.5: 1}, None):
        wrong.append(lambda biases=biases: S.logit_bias(biases))
    for breakers in ("x", [""], ["a" * 41], ["\0"], [5], ["x"] * 65):
        wrong.append(lambda breakers=breakers: S.dry(1.0, breakers=breakers))
    for chooser in CHOOSERS:
        wrong.append(lambda chooser=chooser: Sampler.from_plain([{"kind": chooser, "target": 0.5}, {"kind": "greedy"}]))
    texts = ("", "{", "[", "5", "{}", '"x"', "[5]", "[{}]", '[{"kind": 5}]', '[{"kind": "x"}]', "[" * 10_000, "null")
    for text in texts:
        wrong.append(lambda text=text: Sampler.from_json(text))
    wrong += [
        lambda: Sampler.profile("best"),
        lambda: Sampler.from_plain([{"kind": "top_k"}]),
        lambda: Sampler.from_plain([{"kind": "top_k", "k": 1, "colour": 2}]),
        lambda: Sampler.from_plain([{"kind": "temp", "t": 1}] * 33),
    ]
    return wrong


def test_two_hundred_hostile_chains_are_refused_by_name() -> None:
    calls = hostile()
    accepted = []
    for call in calls:
        try:
            accepted.append(call())
        except OptionError as error:
            assert str(error)
    # a few values are bad for one kind and fine for another (a bias of -0.5, a penalty of -1, a None that is a default)
    assert len(calls) - len(accepted) >= 200
    for made in accepted:
        assert made.links and Sampler.from_json(made.to_json()) == made


def test_what_only_the_model_can_refuse_ends_its_stream(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny)
    stream = engine.generate("x", sampler=S.logit_bias({2**30: 1.0}))
    with pytest.raises(OptionError, match="vocabulary"):
        stream.result(60)
    for sampler in (Sampler(), "best", 5, [5], {}):
        with pytest.raises(ModkitError):
            engine.generate("x", sampler=sampler)
    with pytest.raises(OptionError, match="temperature"):
        engine.generate("x", sampler=S.greedy(), temperature=1)
    everything = S.logit_bias(dict.fromkeys(range(300), -INF))
    chains = [everything.dist(1), everything.greedy(), everything.mirostat(seed=1), everything.top_n_sigma(1).dist(1)]
    for sampler in chains:
        engine.generate("x", sampler=sampler, max_tokens=3).result(60)  # nothing is likely: any token will do
    assert engine.generate("the lamp", max_tokens=3, temperature=0).result(60)


def test_a_function_in_python_chooses_off_the_frame(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny, slots=2)
    threads = set()

    def likeliest(candidates: object, said: object) -> int:
        threads.add(threading.get_ident())
        return candidates[0].token  # type: ignore[index]

    greedy = engine.generate("the lamp", temperature=0, max_tokens=25)
    greedy.result(60)
    beside = engine.generate("oil", temperature=0, max_tokens=200)
    chosen = engine.generate("the lamp", sampler=likeliest, max_tokens=25)
    finish_all(engine, [chosen, beside])
    assert chosen.error is None and chosen.tokens == greedy.tokens and chosen.finish == "length"
    assert chosen.text.rstrip("\ufffd") == greedy.text.rstrip("\ufffd")
    assert threads and threading.get_ident() not in threads
    question = [{"role": "user", "content": "Hm?"}]
    second = engine.chat(question, sampler=lambda c, said: c[len(said) % 3].token, max_tokens=9)
    assert second.result(60) and len(second.tokens) == 9
    stop = greedy.text[4:7]
    cut = engine.generate("the lamp", sampler=likeliest, max_tokens=25, stop=[stop])
    assert cut.result(60) == greedy.text[: greedy.text.index(stop)] and cut.finish == "stop"


def test_a_function_that_fails_or_is_cut_short_hangs_nobody(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny)

    def broken(candidates: object, said: object) -> int:
        raise ValueError("no idea")

    with pytest.raises(EngineError, match="no idea"):
        engine.generate("x", sampler=broken).result(60)
    with pytest.raises(EngineError, match="none of its candidates"):
        engine.generate("x", sampler=lambda c, said: -5).result(60)
    with pytest.raises(OptionError, match="grammar"):
        engine.generate("x", sampler=broken, grammar='root ::= "a"')
    stream = engine.generate("x", sampler=lambda c, said: c[0].token, max_tokens=10_000)
    for _ in range(200):
        engine.tick()
    stream.cancel()
    finish_all(engine, [stream])
    assert stream.finish == "cancelled"
    last = engine.generate("x", sampler=lambda c, said: c[0].token, max_tokens=10_000)
    engine.tick()
    engine.close()
    assert last.finish == "error"

"""Tokens drafted ahead are said only where the model would have said them: real llama.cpp, real caches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modkit import Engine
from modkit.errors import ModelError, OptionError
from tests.conftest import finish_all

Make = Callable[..., Engine]

QUOTED = (
    "You remember: the lamp went out at four because the oil was stale, and the keeper said so to the harbour master.\n"
    "Player: did the lamp go out last night?\nThe lamp went out at four because the oil was stale, and"
)
PROMPTS = [QUOTED, "the lamp the tide the lamp the tide the lamp", "oil oil oil", "A ship. A ship. A ship. A"]


# Rewards for what was said before make a model of random weights repeat itself.
WAYS: dict[str, dict[str, object]] = {
    "greedy": {"temperature": 0},
    "repeating": {"temperature": 0, "presence_penalty": -1.5, "repeat_last_n": 40},
    "stammering": {"temperature": 0, "frequency_penalty": -1.0},
    "seeded": {"temperature": 0.3, "seed": 5, "presence_penalty": -3.0, "repeat_last_n": 12},
    "held": {"temperature": 0, "grammar": 'root ::= ("The lamp went out. " | "The tide was in. ")+'},
}
# Tokens computed together round otherwise than one after another, and a cache in half precision makes that
# visible: where two continuations of random weights are as good as equal, another one is taken. Here it is not
# quite gone, because who is computed with whom, and how much of a prompt at once, depends on the clock: one of
# four replies may differ. A token lost, doubled or mixed up changes all of them.
EXACT = {"kv_type": "f32", "flash_attention": False}


def _same(expected: list[str], said: list[str]) -> None:
    assert sum(a != b for a, b in zip(expected, said, strict=True)) <= 1, (expected, said)


@pytest.mark.parametrize("always", [False, True], ids=["where it pays", "always"])
def test_a_reply_is_the_same_with_drafts_and_without(
    models: Path, make_engine: Make, monkeypatch: pytest.MonkeyPatch, always: bool
) -> None:
    monkeypatch.setattr("modkit.native.settings.ALWAYS_DRAFT", always)
    texts = []
    for draft in (0, 6):
        engine = make_engine(models / "small.gguf", context=1024, draft=draft, **EXACT)
        said = {way: [engine.generate(p, max_tokens=70, **o).result(120) for p in PROMPTS] for way, o in WAYS.items()}
        texts.append(said)
        drafted, accepted = engine._worker.drafts
        assert drafted >= accepted and (draft > 0 or drafted == 0)
        assert not (always and draft) or accepted > 50
    for way in WAYS:
        _same(texts[0][way], texts[1][way])


def test_streams_that_draft_beside_each_other_say_what_each_says_alone(
    models: Path, make_engine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = make_engine(models / "small.gguf", context=512, draft=0, **EXACT)
    options = WAYS["stammering"] | {"max_tokens": 60}
    expected = [alone.generate(prompt, **options).result(120) for prompt in PROMPTS]
    monkeypatch.setattr("modkit.native.settings.ALWAYS_DRAFT", True)
    engine = make_engine(models / "small.gguf", context=512, slots=4, draft=4, **EXACT)
    for _ in range(2):  # the second time over what the first left in the caches, whoever gets which
        streams = [engine.generate(prompt, **options) for prompt in PROMPTS]
        finish_all(engine, streams)
        _same(expected, [stream.text for stream in streams])


def test_a_draft_model_says_what_comes_and_changes_nothing(
    models: Path, make_engine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modkit.native.settings.ALWAYS_DRAFT", True)
    texts, shares = {}, {}
    fresh = {"greedy": {"temperature": 0}, "seeded": {"temperature": 0.8, "seed": 5}}
    for name in (None, "small", "tiny"):  # itself, which is always right, and another one with the same vocabulary
        path = models / f"{name}.gguf" if name else None
        engine = make_engine(models / "small.gguf", context=512, slots=2, draft=6, draft_model=path, **EXACT)
        texts[name] = [engine.generate(p, max_tokens=50, **o).result(120) for o in fresh.values() for p in PROMPTS]
        before = engine._worker.drafts
        streams = [engine.generate(prompt, max_tokens=50, temperature=0) for prompt in PROMPTS]
        finish_all(engine, streams)
        _same(texts[name][: len(PROMPTS)], [stream.text for stream in streams])
        drafted, accepted = (now - then for now, then in zip(engine._worker.drafts, before))
        shares[name] = accepted / max(1, drafted)
    for name in ("small", "tiny"):
        for at in range(0, len(texts[None]), len(PROMPTS)):
            _same(texts[None][at : at + len(PROMPTS)], texts[name][at : at + len(PROMPTS)])
    assert shares["small"] > 0.8  # rounding is another one in a batch; and the last draft of a reply is cut short
    assert shares["small"] > shares["tiny"]


def test_a_draft_model_that_does_not_fit_is_refused_with_a_sentence(
    models: Path, make_engine: Make, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="draft_model"):
        make_engine(models / "tiny.gguf", draft_model=7)
    with pytest.raises(ModelError, match="does not exist"):
        make_engine(models / "tiny.gguf", draft_model=tmp_path / "no.gguf")
    text = tmp_path / "text.gguf"
    text.write_text("the keeper of the lamp")
    for path, why in ((models / "spm.gguf", "its vocabulary is another one"), (text, "GGUF")):
        with pytest.raises(ModelError, match=rf"its draft model .*{path.name}: .*{why}"):
            make_engine(models / "tiny.gguf", draft_model=path)
    engine = make_engine(models / "tiny.gguf", context=256, draft_model=models / "small.gguf")
    assert engine.generate("the lamp", max_tokens=5).result(60)


def test_a_draft_length_is_a_number_up_to_15(tiny: Path, make_engine: Make) -> None:
    for value in (-1, 16, "some", 1.5):
        with pytest.raises(OptionError, match="draft"):
            make_engine(tiny, draft=value)

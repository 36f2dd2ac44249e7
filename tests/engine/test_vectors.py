"""Texts as vectors and pairs as ranks, by real llama.cpp on models of random weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from modkit import Engine
from modkit.errors import ContextOverflow, EngineClosed, EngineError, OptionError
from modkit.testing import FakeEngine
from tests.conftest import finish_all, wait_until
from tests.make_bert import make_bert

Make = Callable[..., Engine]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bert(tmp_path_factory.mktemp("bert") / "encoder.gguf")


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bert(tmp_path_factory.mktemp("bert") / "reranker.gguf", rank=True)


def cosine(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def test_an_encoder_makes_a_row_of_length_one_for_each_text(encoder: Path, make_engine: Make) -> None:
    engine = make_engine(encoder)
    texts = [f"the lamp of night {'ship ' * (i % 7)}" for i in range(100)]
    answer = engine.embed(texts)
    assert not answer.done
    rows = answer.result(60)
    assert rows.shape == (100, 32) and rows.format == "f"
    together = rows.tolist()
    assert all(abs(cosine(row, row) - 1) < 1e-5 for row in together)
    for i in (0, 3, 99):  # what a text's vector is does not depend on who else is in the batch
        alone = engine.embed([texts[i]]).result(60).tolist()[0]
        assert cosine(alone, together[i]) > 0.99999
    assert cosine(together[0], together[3]) < 0.999


def test_a_decoder_embeds_beside_its_streams(models: Path, make_engine: Make) -> None:
    engine = make_engine(models / "small.gguf", slots=2)
    before = engine.generate("the lamp", max_tokens=60, temperature=0).result(60)
    stream = engine.generate("the lamp", max_tokens=60, temperature=0)
    answer = engine.embed([f"night {i}" for i in range(200)])
    finish_all(engine, [stream, answer])  # type: ignore[list-item]
    assert answer.result().shape == (200, 256)
    assert stream.text == before, "an embedding touched a conversation's cache"


def test_rows_stay_when_their_engine_is_closed(encoder: Path, make_engine: Make) -> None:
    engine = make_engine(encoder)
    rows = engine.embed(["the lamp"]).result(60)
    before = rows.tolist()
    engine.close()
    assert rows.tolist() == before


def test_pooling_and_length_are_as_asked(encoder: Path, make_engine: Make) -> None:
    engine = make_engine(encoder)
    tokens = engine.embed(["the lamp"], pooling="none", normalise=False).result(60).tolist()
    assert len(tokens) == 4  # CLS the lamp SEP
    mean = engine.embed(["the lamp"], pooling="mean", normalise=False).result(60).tolist()[0]
    first = engine.embed(["the lamp"], pooling="cls", normalise=False).result(60).tolist()[0]
    last = engine.embed(["the lamp"], pooling="last", normalise=False).result(60).tolist()[0]
    assert mean == pytest.approx([sum(column) / 4 for column in zip(*tokens, strict=True)], abs=1e-5)
    assert first == pytest.approx(tokens[0], abs=1e-5)
    assert last == pytest.approx(tokens[3], abs=1e-5)


def test_a_text_longer_than_the_model_reads_is_cut_or_refused(encoder: Path, make_engine: Make) -> None:
    engine = make_engine(encoder)
    assert engine.embed(["the " * 500]).result(60).shape == (1, 32)
    with pytest.raises(ContextOverflow, match="text 1 has 502 tokens"):
        engine.embed(["lamp", "the " * 500], trim=False).result(60)
    assert engine.embed(["lamp"]).result(60).shape == (1, 32)


def test_an_encoder_refuses_to_speak_and_goes_on(encoder: Path, make_engine: Make) -> None:
    engine = make_engine(encoder)
    with pytest.raises(EngineError, match="only makes embeddings"):
        engine.generate("the lamp").result(60)
    with pytest.raises(EngineError, match="only makes embeddings"):
        engine.chat([{"role": "user", "content": "Who are you?"}]).result(60)
    with pytest.raises(EngineError, match="reranker"):
        engine.rank("lamp", ["ship"]).result(60)
    assert engine.embed(["lamp"]).result(60).shape == (1, 32)


def test_a_reranker_scores_each_text_by_itself(reranker: Path, make_engine: Make) -> None:
    engine = make_engine(reranker)
    texts = ["the keeper went out", "oil", "who was in the harbour last night"]
    scores = engine.rank("who keeps the lamp", texts).result(60)
    assert len(scores) == 3 and len(set(scores)) == 3
    assert [engine.rank("who keeps the lamp", [t]).result(60)[0] for t in texts] == pytest.approx(scores, abs=1e-4)
    with pytest.raises(EngineError, match="use rank"):
        engine.embed(["lamp"]).result(60)


def test_a_cancel_ends_it_soon_and_the_next_one_works(encoder: Path, make_engine: Make) -> None:
    engine = make_engine(encoder)
    answer = engine.embed(["the lamp and the ship"] * 20_000)
    other = engine.embed(["the lamp"] * 10)
    wait_until(engine, lambda: engine._worker.decoded > 100)
    answer.cancel()
    finish_all(engine, [answer, other])  # type: ignore[list-item]
    assert answer.finish == "cancelled" and other.result().shape == (10, 32)
    with pytest.raises(EngineError, match="cancelled"):
        answer.result()


def test_texts_may_be_asked_for_while_the_model_loads(encoder: Path, make_engine: Make) -> None:
    engine = make_engine(encoder, load=False)
    assert engine.embed(["lamp"]).result(60).shape == (1, 32)
    answer = engine.embed(["the lamp"] * 10_000)
    engine.close()
    assert isinstance(answer.error, EngineClosed)


@pytest.mark.parametrize("texts", ["one string", [], [1], [None], 5])
def test_what_is_no_list_of_texts_is_refused_by_name(encoder: Path, make_engine: Make, texts: object) -> None:
    engine = make_engine(encoder)
    with pytest.raises(OptionError):
        engine.embed(texts)  # type: ignore[arg-type]
    with pytest.raises(OptionError):
        engine.embed(["x"], pooling="best")


def test_a_fake_engine_embeds_words_without_a_model() -> None:
    engine = FakeEngine()
    answer = engine.embed(["the lamp", "the lamp went out", "seven ships"])
    heard = []
    answer.on_done(heard.append)
    engine.tick()
    rows = answer.result().tolist()
    assert heard == [answer] and len(rows) == 3
    assert cosine(rows[0], rows[1]) > cosine(rows[0], rows[2])
    scores = engine.rank("who keeps the lamp", ["the lamp", "ships"])
    engine.tick()
    assert scores.result() == [0.5, 0.0]

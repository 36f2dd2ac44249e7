"""LoRA and control vectors, each speaker her own: on real llama.cpp builds, with adapters of random weights."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from modkit import Engine, Stream
from modkit.errors import OptionError
from tests.conftest import finish_all

Make = Callable[..., Engine]
WIDTH, LAYERS = 64, 2


def make_adapter(path: Path, *, seed: int, rank: int = 4, width: int = WIDTH, architecture: str = "llama") -> Path:
    """A LoRA over the queries and the feed-forward of tests/make_model.py's model."""
    dice = np.random.default_rng(seed)
    w = gguf.GGUFWriter(str(path), architecture)
    w.add_type("adapter")
    w.add_string("adapter.type", "lora")
    w.add_float32("adapter.lora.alpha", float(rank))
    for layer in range(LAYERS):
        for name, rows in (("attn_q", width), ("ffn_up", 2 * width)):
            for part, shape in (("a", (rank, width)), ("b", (rows, rank))):
                data = dice.standard_normal(shape, dtype=np.float32)
                w.add_tensor(f"blk.{layer}.{name}.weight.lora_{part}", data)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [make_adapter(folder / f"{seed}.gguf", seed=seed) for seed in (1, 2)]


def ask(engine: Engine, prompt: str = "the lamp went out", **options: object) -> Stream:
    return engine.generate(prompt, max_tokens=1, temperature=0, logprobs=10, **options)


def views(stream: Stream) -> dict[int, float]:
    stream.result(60)
    return {other.token: other.logprob for other in stream.logprobs[0].top}


def agree(one: dict[int, float], other: dict[int, float]) -> bool:
    shared = one.keys() & other.keys()
    return len(shared) >= 8 and all(abs(one[token] - other[token]) < 0.05 for token in shared)


def test_an_adapter_changes_what_is_said_and_its_scale_how_much(
    tiny: Path, make_engine: Make, adapters: list[Path]
) -> None:
    engine = make_engine(tiny)
    plain = views(ask(engine))
    first, second = (views(ask(engine, lora=path)) for path in adapters)
    both = views(ask(engine, lora=adapters))
    seen = [plain, first, second, both]
    assert not any(agree(a, b) for i, a in enumerate(seen) for b in seen[:i])
    assert agree(views(ask(engine, lora=[(adapters[0], 0.0)])), plain)
    assert not agree(views(ask(engine, lora=[(adapters[0], -0.5)])), first)
    assert agree(views(ask(engine)), plain), "what a speaker without adapters says has changed"
    assert agree(views(ask(engine, lora=str(adapters[1]))), second)


def test_speakers_with_different_adapters_do_not_touch_each_other(
    tiny: Path, make_engine: Make, adapters: list[Path]
) -> None:
    sets: list[dict[str, object]] = [{}, {"lora": adapters[0]}, {"lora": [(adapters[1], 0.5)]}]
    alone = make_engine(tiny)
    expected = [views(ask(alone, **options)) for options in sets]
    together = make_engine(tiny, slots=3)
    busy = [together.generate("tide", max_tokens=60, temperature=1, seed=1, **options) for options in sets[:2]]
    streams = [ask(together, **options) for options in sets]
    finish_all(together, [*busy, *streams])
    for stream, thought in zip(streams, expected):
        assert agree(views(stream), thought)
    assert {stream.finish for stream in busy} <= {"stop", "length"}


def test_what_one_adapter_computed_is_not_used_for_another(tiny: Path, make_engine: Make, adapters: list[Path]) -> None:
    engine = make_engine(tiny, context=1024)
    prompt = "the lamp went out last night and who was it that saw the light of the ship in the harbour " * 4
    options = {"pin": 60}
    ask(engine, prompt, **options).result(60)
    other = ask(engine, prompt, lora=adapters[0], **options)
    other.result(60)
    assert other.stats.cached_tokens == 0
    for lora in ((), adapters[0]):  # each comes back to its own
        again = ask(engine, prompt + "and", lora=lora, **options)
        again.result(60)
        assert again.stats.cached_tokens >= 60


def test_a_control_vector_leans_the_model(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny)
    plain = views(ask(engine))
    vector = np.random.default_rng(3).standard_normal(WIDTH * (LAYERS - 1)).astype(np.float32)
    leaning = views(ask(engine, control=vector))
    assert not agree(leaning, plain)
    assert agree(views(ask(engine, control=vector.tolist())), leaning)
    assert agree(views(ask(engine, control=vector * 0)), plain)
    assert agree(views(ask(engine)), plain)
    with pytest.raises(OptionError, match="this model takes 64"):
        ask(engine, control=vector[:32]).result(60)


def test_adapters_that_do_not_fit_are_refused_by_name(tiny: Path, make_engine: Make, tmp_path: Path) -> None:
    engine = make_engine(tiny)
    plain = views(ask(engine))
    wide = make_adapter(tmp_path / "wide.gguf", seed=1, width=128)
    other = make_adapter(tmp_path / "other.gguf", seed=1, architecture="qwen2")
    for path in (wide, other, tiny, tmp_path, tmp_path / "nowhere.gguf"):
        with pytest.raises(OptionError, match="adapter"):
            ask(engine, lora=path).result(60)
    assert agree(views(ask(engine)), plain)


@pytest.mark.parametrize("given", [5, [5], [("a", "b")], [("a", float("nan"))], [("a", 1, 2)], ["x"] * 9])
def test_a_wrong_adapter_option_is_refused_by_name(tiny: Path, make_engine: Make, given: object) -> None:
    with pytest.raises(OptionError, match="lora"):
        make_engine(tiny).generate("x", lora=given)


@pytest.mark.parametrize("given", ["much", [], [float("inf")], [None], 3])
def test_a_wrong_control_vector_is_refused_by_name(tiny: Path, make_engine: Make, given: object) -> None:
    with pytest.raises(OptionError, match="control"):
        make_engine(tiny).generate("x", control=given)


def test_a_hundred_damaged_adapters_leave_the_engine_alive(
    tiny: Path, make_engine: Make, adapters: list[Path], tmp_path: Path
) -> None:
    engine = make_engine(tiny)
    good = adapters[0].read_bytes()
    dice = random.Random(7)
    for i in range(100):
        data = bytearray(good)
        if i % 4 == 0:
            del data[dice.randrange(len(data)) :]
        else:
            for _ in range(dice.randrange(1, 4)):
                data[dice.randrange(1500)] ^= 1 << dice.randrange(8)
        path = tmp_path / f"{i}.gguf"
        path.write_bytes(data)
        stream = ask(engine, lora=path)
        finish_all(engine, [stream])
        assert stream.finish == "length" or isinstance(stream.error, OptionError)
    assert ask(engine).result(60) is not None

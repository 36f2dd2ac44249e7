"""Models looked at, loaded with options, quantised, in parts; and the vocabulary without an engine."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from modkit import Engine, native
from modkit.errors import EngineClosed, LibraryError, ModelError, OptionError
from tests.make_model import make_model

MakeEngine = Callable[..., Engine]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads of 64, so that every type of KV cache divides them."""
    return make_model(tmp_path_factory.mktemp("wide") / "wide.gguf", width=256, tensor_type="f32")


def greedy(engine: Engine, n: int = 12) -> str:
    return engine.generate("the lamp went out", max_tokens=n, temperature=0).result(60)


def test_metadata_of_any_length_and_what_a_model_is(tmp_path: Path, library: str | None) -> None:
    template = "{{ messages }}" + "{# long #}" * 5000
    path = make_model(tmp_path / "m.gguf", chat_template=template)
    with native.Model(path, library=library) as model:
        assert model.metadata["tokenizer.chat_template"] == template
        assert model.metadata["llama.block_count"] == "2"
        info = model.info
    assert (info["layers"], info["heads"], info["kv_heads"], info["embedding"]) == (2, 4, 2, 64)
    assert info["decoder"] and not info["recurrent"] and info["buffers"]
    with pytest.raises(EngineClosed):
        _ = model.metadata


def test_a_vocabulary_alone_reads_no_weights(tiny: Path, library: str | None) -> None:
    with native.Model(tiny, vocab_only=True, library=library) as model:
        assert model.vocab.detokenise(model.vocab.tokenise("the lamp went out")) == "the lamp went out"
        assert not [kind for _, kind, _ in model.info["buffers"] if kind == "model"]


def test_tokens_and_text_in_batches_and_one_by_one(tiny: Path, make_engine: MakeEngine) -> None:
    vocab = make_engine(tiny).vocab
    tokens = vocab.tokenise("the harbour — naïve ☂")
    assert vocab.detokenise(tokens) == "the harbour — naïve ☂" == b"".join(vocab.pieces(tokens)).decode()
    assert vocab.detokenise_bytes(array("i", tokens)) == vocab.detokenise_bytes(np.array(tokens, dtype=np.int32))
    assert [vocab.piece(t) for t in tokens] == vocab.pieces(tokens) == [vocab.piece(t) for t in tokens]
    flags = vocab.eog_flags()
    assert len(flags) == vocab.size and sum(flags) == 2
    assert [vocab.is_eog(t) for t in range(vocab.size)] == [bool(flag) for flag in flags]
    end = vocab.tokenise("<|im_end|>", special=True)
    assert len(end) == 1 and vocab.is_eog(end[0]) and vocab.piece(end[0]) == b""
    assert vocab.detokenise(end, special=True) == "<|im_end|>"
    assert len(vocab.tokenise("<|im_end|>")) > 1
    assert vocab.detokenise([]) == "" and vocab.pieces([]) == []
    everything = [*range(vocab.size), *tokens] * 3  # so many that a table of all pieces is made
    assert vocab.detokenise_bytes(everything) == b"".join(vocab.pieces(everything))
    for wrong in ([*everything, -1], [*everything, vocab.size]):
        with pytest.raises(OptionError, match="does not have"):
            vocab.detokenise(wrong)


@pytest.mark.parametrize("wrong", [-1, 1 << 30, 1 << 40, 1.5, "x", None])
def test_a_token_that_does_not_exist_is_an_option_error(tiny: Path, library: str | None, wrong: Any) -> None:
    with native.Model(tiny, vocab_only=True, library=library) as model:
        for call in (model.vocab.piece, model.vocab.is_eog, lambda t: model.vocab.detokenise([t])):
            with pytest.raises(OptionError):
                call(wrong)
        for tokens in (array("d", [1.0]), b"abcd", 7):
            with pytest.raises(OptionError):
                model.vocab.detokenise(tokens)
        vocab = model.vocab
    for closed in (lambda: vocab.tokenise("x"), lambda: vocab.detokenise([1])):
        with pytest.raises(EngineClosed):
            closed()


@pytest.mark.parametrize("kv_type", ["f32", "bf16", "q8_0", "q4_0", ("q8_0", "f16"), ("f16", "q4_0")])
def test_the_kv_cache_has_the_types_asked_for(wide: Path, make_engine: MakeEngine, kv_type: Any) -> None:
    plain, engine = make_engine(wide, context=512), make_engine(wide, context=512, kv_type=kv_type)

    def cache(e: Engine) -> int:
        return sum(size for _, kind, size in e.info["buffers"] if kind == "KV")

    per_value = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
    pair = (kv_type, kv_type) if isinstance(kv_type, str) else kv_type
    assert cache(engine) == pytest.approx(cache(plain) * sum(per_value[t] for t in pair) / 4.0, rel=0.05)
    assert len(greedy(engine)) > 0


@pytest.mark.parametrize("flash", [True, False, "auto"])
def test_flash_attention_changes_the_speed_and_not_the_words(wide: Path, make_engine: MakeEngine, flash: Any) -> None:
    assert greedy(make_engine(wide, flash_attention=flash)) == greedy(make_engine(wide))


def test_rope_overrides_and_loading_are_as_asked(wide: Path, make_engine: MakeEngine) -> None:
    plain = greedy(make_engine(wide), 24)
    bent = make_engine(wide, rope_scaling="yarn", rope_base=500.0, rope_scale=0.25, yarn_context=1024)
    assert greedy(bent, 24) != plain
    shorter = make_engine(wide, overrides={"llama.context_length": 777, "general.name": "x", "llama.nothing": 0.5})
    assert shorter.info["context_train"] == 777
    for options in ({"mmap": False}, {"mmap": True}, {"mlock": True}, {"check_tensors": True}, {"repack": False}):
        engine = make_engine(wide, **options)
        assert greedy(engine, 24) == plain, options
        mapped = any("Mapped" in name for name, _, _ in engine.info["buffers"])
        assert mapped is (options.get("mmap", True) is not False)
        engine.close()


def test_threads_pool_warm_up_and_counters(wide: Path, make_engine: MakeEngine) -> None:
    engine = make_engine(wide, threads=2, poll=0, priority="normal", cpus=[0], warm_up=False, perf=True)
    plain = make_engine(wide)
    assert greedy(engine) == greedy(plain)
    perf = engine.perf()
    assert perf["reply_tokens"] >= 10 and perf["reply_ms"] > 0 and perf["prompt_tokens"] > 0
    assert plain.perf()["reply_tokens"] == 0


def test_llama_cpps_own_words_go_to_logging(
    tiny: Path, make_engine: MakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="modkit.llama"):
        make_engine(tiny)
    assert any("model buffer size" in record.message for record in caplog.records if record.name == "modkit.llama")


def split(path: Path, folder: Path, names: list[str]) -> list[Path]:
    """The model in two files, as llama.cpp's own splitter writes them."""
    reader = gguf.GGUFReader(path)
    out = []
    half = len(reader.tensors) // 2
    for no, name in enumerate(names):
        w = gguf.GGUFWriter(str(folder / name), "llama")
        for field in reader.fields.values() if no == 0 else ():
            if field.name.startswith("GGUF.") or field.name == "general.architecture":
                continue
            kind = field.types[0]
            inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            w.add_key_value(field.name, field.contents(), kind, inner)
        w.add_uint16("split.no", no)
        w.add_uint16("split.count", 2)
        w.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in reader.tensors[:half] if no == 0 else reader.tensors[half:]:
            w.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_tensors_to_file()
        w.close()
        out.append(folder / name)
    return out


def test_a_model_in_parts_is_one_model(tiny: Path, tmp_path: Path, make_engine: MakeEngine) -> None:
    plain = greedy(make_engine(tiny))
    first, second = split(tiny, tmp_path, ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"])
    assert greedy(make_engine(first)) == plain
    other = split(tiny, tmp_path, ["one.gguf", "two.gguf"])
    assert greedy(make_engine(other)) == plain
    with pytest.raises(ModelError, match="give the first"):
        make_engine(second)
    second.write_bytes(second.read_bytes()[:100])
    with pytest.raises(ModelError, match="part 2"):
        make_engine(first)
    second.unlink()
    with pytest.raises(ModelError, match="part 2.*no such file"):
        make_engine(first)
    with pytest.raises(ModelError, match="does not exist"):
        make_engine([first, second])
    with pytest.raises(OptionError, match="no model"):
        make_engine([])


def quantiser(library: str | None) -> native.Library:
    found = native.load(library)
    if "llama_model_quantize" in found.raw.missing():
        with pytest.raises(LibraryError, match="has no quantiser"):
            native.quantise(__file__, "x.gguf", library=library)
        pytest.skip("this build has no quantiser; the promise is kept by the other")
    return found


def test_quantising_makes_a_smaller_model_that_speaks(
    wide: Path, tmp_path: Path, make_engine: MakeEngine, library: str | None
) -> None:
    quantiser(library)
    small = native.quantise(wide, tmp_path / "small.gguf", "q4_0", library=library, tensor_types={"ffn_down": "q8_0"})
    assert small.stat().st_size < 0.3 * wide.stat().st_size
    types = {t.name: t.tensor_type.name for t in gguf.GGUFReader(small).tensors}
    assert types["blk.0.ffn_down.weight"] == "Q8_0" and types["blk.0.attn_q.weight"] == "Q4_0"
    assert len(greedy(make_engine(small))) > 0
    again = native.quantise(wide, tmp_path / "copy.gguf", "copy", library=library)
    assert greedy(make_engine(again)) == greedy(make_engine(wide))


def test_a_failed_quantising_leaves_nothing_behind(wide: Path, tmp_path: Path, library: str | None) -> None:
    quantiser(library)
    (tmp_path / "bad.gguf").write_bytes(wide.read_bytes()[:5000])
    with pytest.raises(ModelError):
        native.quantise(tmp_path / "bad.gguf", tmp_path / "out.gguf", library=library)
    with pytest.raises(OptionError):
        native.quantise(wide, tmp_path / "out.gguf", "q99", library=library)
    with pytest.raises(OptionError, match="not a folder"):
        native.quantise(wide, tmp_path / "nowhere" / "out.gguf", library=library)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.gguf"]


HUGE = 1 << 70
WRONG: dict[str, list[Any]] = {
    "context": [-1, 0, 1, HUGE, 1.5, "4096", None, True, float("nan")],
    "slots": [-1, 0, 65, HUGE, 1.5],
    "threads": [-1, 0, 513, HUGE, "2"],
    "gpu_layers": [-1, "some", 1.5, None, True],
    "vram_budget": [-1, 0, HUGE, "lots", "-4GiB", 1.5, "1e999", "9" * 30 + "T"],
    "batch": [-1, 0, 31, HUGE, "512"],
    "kv_type": ["q3", "", 8, ("f16",), ("f16", "f16", "f16"), ("f16", None)],
    "flash_attention": ["on", 2, None],
    "rope_scaling": ["cubic", 1],
    "rope_base": [-1, 0, float("inf"), float("nan"), HUGE, "x"],
    "rope_scale": [-1, 0, 1e30],
    "yarn_ext_factor": [-2, float("nan")],
    "yarn_context": [0, -1, HUGE],
    "mmap": [1, "yes"],
    "mlock": [None, 1],
    "numa": ["everywhere", 1, True],
    "overrides": [{"": 1}, {"k" * 200: 1}, {"k": HUGE}, {"k": "v" * 200}, {"k": None}, {"k": float("nan")}, {1: 1}, []],
    "priority": ["highest", 3],
    "poll": [-1, 101, HUGE],
    "cpus": [[-1], [512], ["0"]],
    "main_gpu": [-1, 64, HUGE, "Vulkan99", None],
    "tensor_split": [[], [-1.0], [0.0], [float("inf")], "1,1", [1.0] * 65],
    "split_mode": ["column", 1, None],
    "devices": ["Vulkan0", ["Vulkan99"], [1], ["CPU", "CPU"]],
    "placement": [{"(": "CPU"}, {"(a+)+": "CPU"}, {"a" * 300: "CPU"}, {"x": "Vulkan99"}, {"x": 1}, {"(?i)x": "CPU"}],
    "vram_margin": [-1, "much", 1.5],
    "min_context": [-1, HUGE],
    "no_such_option": [1],
}


@pytest.mark.parametrize("name", WRONG)
def test_an_argument_that_cannot_be_meant_is_an_option_error(tiny: Path, library: str | None, name: str) -> None:
    for value in WRONG[name]:
        with pytest.raises(OptionError) as caught:
            Engine(tiny, library=library, **{name: value}).close()
        assert len(str(caught.value)) > 10, (name, value)

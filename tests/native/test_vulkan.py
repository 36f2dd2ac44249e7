"""Layers on a GPU, for real: llama.cpp's Vulkan backend over Mesa's software driver, which any machine has.

With CI=true nothing here may be skipped.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modkit import Engine, native
from modkit.errors import LibraryError, OptionError, OutOfMemory
from tests.conftest import wait_until
from tests.make_model import make_model

BLOCKS = 4
GPU = "Vulkan0"
Make = Callable[..., Engine]


def missing() -> str | None:
    """Why there is no GPU to test on; None when there is one."""
    folder = os.environ.get("MODKIT_TEST_VULKAN")
    if not folder:
        return "MODKIT_TEST_VULKAN names no Vulkan build of llama.cpp (make test fetches one)"
    os.environ.setdefault("GGML_VK_VISIBLE_DEVICES", "0")  # else ggml passes over a driver that is software
    try:
        found = native.load(folder)
    except LibraryError as error:
        return str(error)
    return None if found.gpus() else f"{folder} sees no Vulkan device (install mesa-vulkan-drivers and libvulkan1)"


@pytest.fixture(scope="module")
def vulkan() -> str:
    why = missing()
    if why is not None:
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    return os.environ["MODKIT_TEST_VULKAN"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In float32: what the two sides round differently must not decide a word."""
    folder = tmp_path_factory.mktemp("vulkan")
    return make_model(folder / "four.gguf", width=256, layers=BLOCKS, tensor_type="f32")


@pytest.fixture
def make(vulkan: str, model: Path) -> Iterator[Make]:
    """One engine at a time: the software driver is slow enough without another that learns what its batches cost."""
    made: list[Engine] = []

    def open_one(**settings: Any) -> Engine:
        for before in made:
            before.close()
        engine = Engine(model, library=vulkan, **{"context": 256, "draft": 0, **settings})
        made.append(engine)
        wait_until(engine, lambda: not engine.loading)
        return engine

    yield open_one
    for engine in made:
        engine.close()


def greedy(engine: Engine) -> str:
    return engine.generate("the lamp went out", max_tokens=8, temperature=0).result(120)


def on_gpu(engine: Engine, kind: str | None = None) -> int:
    return sum(size for name, k, size in engine.info["buffers"] if name == GPU and kind in (None, k))


@pytest.mark.parametrize("layers", [0, 1, 3, BLOCKS + 1])
def test_k_of_n_layers_are_on_the_gpu_and_say_the_same(
    make: Make, layers: int, caplog: pytest.LogCaptureFixture
) -> None:
    words = greedy(make(gpu_layers=0, devices=[]))
    with caplog.at_level(logging.INFO, logger="modkit.llama"):
        engine = make(gpu_layers=layers)
    if layers:
        assert any(f"offloaded {layers}/{BLOCKS + 1} layers to GPU" in r.message for r in caplog.records)
        assert engine.info["plan"]["layers"] == layers
    assert (on_gpu(engine, "model") > 0) is (layers > 0)
    assert (on_gpu(engine, "KV") > 0) is (layers > 1)  # the first layer to go is the output, which has no cache
    assert greedy(engine) == words


def test_what_was_planned_is_what_llama_cpp_takes(make: Make) -> None:
    engine = make(gpu_layers=3)
    parts = engine.info["plan"]["parts"]
    for kind, part in (("model", "weights"), ("KV", "kv"), ("compute", "compute")):
        assert on_gpu(engine, kind) == pytest.approx(parts[part]["gpu"], rel=0.05, abs=20_000), kind


def test_auto_takes_as_many_layers_as_the_budget_holds(make: Make) -> None:
    words = greedy(make(gpu_layers=0, devices=[]))
    whole = make()
    assert whole.info["plan"]["layers"] == BLOCKS + 1 and not whole.info["plan"]["steps"]
    taken = []
    need = whole.info["plan"]["gpu"]
    for budget in (need, need * 9 // 10, need * 6 // 10):
        engine = make(vram_budget=budget)
        plan = engine.info["plan"]
        taken.append(plan["layers"])
        assert on_gpu(engine) <= budget and plan["context"] == 256
        assert len(plan["steps"]) == (plan["layers"] < BLOCKS + 1)
        assert greedy(engine) == words
    assert taken[0] == BLOCKS + 1 > taken[1] > taken[2] >= 1


def test_a_shorter_context_and_then_the_cpu_come_after_fewer_layers(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    big = make(context=4096, gpu_layers=1).info["plan"]
    small = make(context=1024, gpu_layers=1).info["plan"]
    with caplog.at_level(logging.INFO, logger="modkit.llama"):
        engine = make(context=4096, vram_budget=(big["gpu"] + small["gpu"]) // 2)
    assert engine.info["plan"]["layers"] >= 1 and engine.context in (1024, 2048)
    assert any("trying 2048" in record.message for record in caplog.records)
    words = greedy(engine)
    cpu = make(context=4096, vram_budget="1MiB")
    assert cpu.context == 4096 and on_gpu(cpu) == 0 and "runs on the CPU" in cpu.info["plan"]["steps"][-1]
    assert greedy(cpu) == words


def test_more_layers_than_fit_are_out_of_memory_by_name(make: Make, vulkan: str, model: Path) -> None:
    with pytest.raises(OutOfMemory, match="GPU memory"):
        make(gpu_layers="all", vram_budget="3MiB")
    with pytest.raises(OutOfMemory, match="GPU memory"):
        make(gpu_layers=9999, context=1 << 20, slots=4)
    with pytest.raises(OutOfMemory, match="GPU memory"):
        make(gpu_layers="all", vram_margin="100TiB")
    assert len(greedy(make(gpu_layers=9999))) > 0  # more than there are: all


def test_the_cache_the_experts_and_single_tensors_go_where_they_are_sent(make: Make) -> None:
    words = greedy(make(gpu_layers=0, devices=[]))
    everything = make(gpu_layers="all")
    without = make(gpu_layers="all", kv_on_gpu=False)
    assert on_gpu(without, "KV") == 0 < on_gpu(everything, "KV") and greedy(without) == words
    sent = make(gpu_layers="all", placement={r"blk\.[0-9]+\.ffn_.*": "CPU"})
    assert on_gpu(sent, "model") < 0.7 * on_gpu(everything, "model") and greedy(sent) == words
    named = make(gpu_layers=2, devices=[GPU], main_gpu=GPU, split_mode="none", tensor_split=[1.0])
    assert on_gpu(named, "model") > 0 and greedy(named) == words
    with pytest.raises(OptionError, match=r"no device 'Vulkan7'; this llama.cpp sees Vulkan0"):
        make(devices=["Vulkan7"])


def test_fit_answers_for_this_gpu_without_loading(vulkan: str, model: Path) -> None:
    whole = native.fit(model, context=256, library=vulkan)
    assert (whole.layers, whole.all_layers) == (BLOCKS + 1, BLOCKS + 1)
    tight = native.fit(model, context=256, vram=whole.gpu - 1, library=vulkan)
    assert tight.layers < whole.layers and tight.gpu <= whole.gpu and tight.steps

"""A thousand damaged model files: an exception by name each, or words; never the end of the process.

Each runs in a process with others of its kind, so that a crash is a failed test that names the seed. The
damage is a function of the seed alone: `MODKIT_DAMAGE=5000:6000 pytest tests/engine/test_damage.py` tries others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from gguf import GGUFReader

from modkit import Engine, native
from modkit.errors import OutOfMemory
from tests.conftest import wait_until
from tests.make_model import make_model

COUNT = 1000
SHARES = 2  # processes, one after the other; each kind of model in turn

TRY = """
    import random, struct, sys, time
    import modkit
    from modkit.errors import EngineError, ModelError, ModkitError

    sources, target, first, last, library, seen = sys.argv[1:]
    wholes = []
    for source in sources.split("|"):
        path, table, data = source.rsplit("@", 2)
        wholes.append((open(path, "rb").read(), int(table), int(data)))

    EXTREMES = [0, 1, 2, 0x7f, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 1 << 40, (1 << 63) - 1, (1 << 64) - 1]

    def damaged(seed):
        dice = random.Random(seed)
        whole, table, end = wholes[seed % len(wholes)]
        data = bytearray(whole)
        region = dice.choice([(0, table), (table, end), (end, len(data)), (0, 64)])
        at = dice.randrange(*region)
        kind = dice.randrange(7)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            for _ in range(dice.choice([1, 1, 2, 8])):
                data[dice.randrange(*region)] ^= 1 << dice.randrange(8)
        elif kind == 2:
            data[at:at + 8] = struct.pack("<Q", dice.choice(EXTREMES))[: len(data) - at]
        elif kind == 3:
            data[at:at + 4] = struct.pack("<I", dice.choice(EXTREMES) & 0xffffffff)[: len(data) - at]
        elif kind == 4:
            n = dice.randrange(1, 200)
            data[at:at + n] = dice.choice([bytes(n), bytes([255]) * n, dice.randbytes(n)])
        elif kind == 5:
            del data[at:at + dice.randrange(1, 40)]
        else:
            data[at:at] = dice.randbytes(dice.randrange(1, 40))
        return bytes(data)

    refused = spoke = 0
    for seed in range(int(first), int(last)):
        open(seen, "w").write(str(seed))
        open(target, "wb").write(damaged(seed))
        try:
            with modkit.Engine(target, context=128, library=library or None) as engine:
                deadline = time.monotonic() + 60
                while engine.loading and time.monotonic() < deadline:
                    engine.tick()
                    time.sleep(0.0002)
                assert not engine.loading, "it loads for ever"
                engine.generate("the lamp", max_tokens=3).result(60)
                spoke += 1
        except (ModelError, EngineError) as error:
            assert str(error) and type(error) is not ModkitError, seed
            refused += 1
    print(refused, spoke)
"""


def described(path: Path) -> str:
    """path@where the tensor table begins@where the data begins."""
    reader = GGUFReader(path)
    table = min(int(tensor.field.offset) for tensor in reader.tensors)
    return f"{path}@{table}@{reader.data_offset}"


def seeds() -> tuple[int, int]:
    first, _, last = os.environ.get("MODKIT_DAMAGE", f"0:{COUNT}").partition(":")
    return int(first), int(last)


@pytest.mark.parametrize("share", range(SHARES))
def test_a_damaged_file_is_refused_by_name_or_harmless(
    tiny: Path, models: Path, tmp_path: Path, library: str | None, share: int
) -> None:
    half = make_model(tmp_path / "half.gguf", tensor_type="f16", layers=1)
    sources = "|".join(map(described, (tiny, models / "spm.gguf", half)))
    first, last = seeds()
    step = -(-(last - first) // SHARES)
    begin, end = first + share * step, min(last, first + (share + 1) * step)
    seen = tmp_path / "seed"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(TRY), sources, str(tmp_path / "x.gguf"), str(begin), str(end),
         library or "", str(seen)],
        capture_output=True,
        text=True,
        timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, f"seed {seen.read_text()} (code {done.returncode}): {done.stderr[-2000:]}"
    refused, spoke = map(int, done.stdout.split())
    assert refused + spoke == end - begin
    assert refused > (end - begin) // 3 and spoke > 0


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """9 MB of weights whose cache of 4 x 1,048,576 tokens takes 275 GB."""
    folder = tmp_path_factory.mktemp("deep")
    return make_model(folder / "deep.gguf", width=128, layers=128, feed_forward=64, tensor_type="q4_0")


@pytest.mark.parametrize("layers", [0, "auto", "all", 99999])
def test_a_context_larger_than_memory_is_out_of_memory(deep: Path, library: str | None, layers: int | str) -> None:
    with (
        Engine(deep, context=1 << 20, slots=4, kv_type="f32", gpu_layers=layers, library=library) as engine,
        pytest.raises(OutOfMemory, match="a context of 4 x"),
    ):
        wait_until(engine, lambda: not engine.loading)
    with pytest.raises(OutOfMemory, match="a context of 1 x"):
        native.fit(deep, context=1 << 20, ram="100MiB", gpu_layers=0, library=library)
    shorter = native.fit(deep, context=4096, ram="120MiB", library=library)
    assert shorter.context < 4096 and "does not fit into memory" in shorter.steps[-1]


METADATA: list[dict[str, bool | int | float | str]] = [
    {"llama.block_count": 10**9},
    {"llama.block_count": -1},
    {"llama.block_count": 1},
    {"llama.block_count": "two"},
    {"llama.attention.head_count": 0},
    {"llama.attention.head_count": 10**12},
    {"llama.attention.head_count_kv": 3},
    {"llama.embedding_length": 3},
    {"llama.rope.dimension_count": 7},
    {"llama.context_length": 0},
    {"llama.expert_count": 5, "llama.expert_used_count": 9},
    {"llama.attention.layer_norm_rms_epsilon": -1e9},
    {"llama.rope.freq_base": 0.0},
    {"tokenizer.ggml.eos_token_id": 10**9},
    {"tokenizer.ggml.bos_token_id": -5},
    {"general.architecture": "mamba"},
    {"general.architecture": "no such thing"},
    {"tokenizer.ggml.model": "none"},
    {"tokenizer.ggml.pre": "\n"},
]


def test_metadata_that_makes_no_sense_is_refused_or_harmless(tiny: Path, library: str | None) -> None:
    """In a process of its own: llama.cpp fails assertions over some of them, and threads are parked then."""
    code = """
        import sys, json, modkit
        from modkit.errors import EngineError, ModelError

        for overrides in json.loads(sys.argv[2]):
            print(overrides, flush=True)
            try:
                with modkit.Engine(sys.argv[1], context=128, overrides=overrides, library=sys.argv[3] or None) as e:
                    e.generate('the lamp', max_tokens=3).result(60)
            except (ModelError, EngineError) as error:
                print("refused:", error, flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tiny), json.dumps(METADATA), library or ""]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.stdout + done.stderr)[-1000:]
    assert done.stdout.count("refused:") >= 10

"""The raw surface: every function that a llama.cpp exports can be called by name, with its types."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from modkit import native

# exported by some builds although no public header declares them: ggml's own helpers and C++ leftovers
PUBLIC = re.compile(
    r"^(llama_|gguf_|ggml_backend_(dev|reg|buffer|buft|sched|load|init|cpu|tensor|event|graph)_|ggml_threadpool_)"
)
INTERNAL = re.compile(
    r"^ggml_(threadpool_chunk_|backend_buffer_(copy_tensor|init$|is_m)|backend_sched_set_copy|backend_buft_(is_meta|\w+_n$)"
    r"|backend_cpu_(x86|aarch64|repack|amx|hbm|kleidiai)|backend_tensor_(get|set)_2d)"
)


def exported(path: Path) -> set[str]:
    """The C names that a shared library exports."""
    if shutil.which("nm") is None:
        pytest.skip("nm is missing (install binutils)")
    done = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True)
    names = (line.split()[-1] for line in done.stdout.splitlines())
    return {name for name in names if re.match(r"(llama|ggml|gguf)_\w+$", name)}


def files_of(library: native.Library) -> list[Path]:
    beside = [p for p in library.path.parent.glob("libggml*") if "-cpu-" not in p.name]
    return [library.path, *beside]


def test_every_exported_function_of_the_public_headers_is_declared(library: str | None) -> None:
    found = native.load(library)
    names = set().union(*(exported(path) for path in files_of(found)))
    missing = sorted(n for n in names - found.raw.declared if PUBLIC.match(n) and not INTERNAL.match(n))
    assert not missing, f"{found.path.name} exports what modkit cannot call: {', '.join(missing)}"
    assert len([n for n in names & found.raw.declared if n.startswith("llama_")]) >= 230


def test_every_declared_function_that_is_exported_is_callable(library: str | None) -> None:
    found = native.load(library)
    names = set().union(*(exported(path) for path in files_of(found)))
    for name in names & found.raw.declared:
        assert found.ffi.typeof(getattr(found.raw, name)).kind == "function", name
    assert not found.raw.missing() & names


def test_functions_of_the_cpu_backend_are_reached_although_its_file_was_picked_at_run_time(library: str | None) -> None:
    raw = native.load(library).raw
    params = native.Library.ffi.new("struct ggml_threadpool_params *")
    raw.ggml_threadpool_params_init(params, 2)
    assert params.n_threads == 2
    pool = raw.ggml_threadpool_new(params)
    raw.ggml_threadpool_pause(pool)
    raw.ggml_threadpool_free(pool)
    assert isinstance(raw.ggml_cpu_has_avx2(), int)


def test_a_name_that_is_not_there_says_whether_modkit_or_the_library_lacks_it(library: str | None) -> None:
    raw = native.load(library).raw
    with pytest.raises(AttributeError, match="modkit declares no llama_make_coffee"):
        _ = raw.llama_make_coffee
    for name in sorted(raw.missing())[:1]:
        with pytest.raises(AttributeError, match=f"has no {name}"):
            getattr(raw, name)


def test_constants_come_with_the_functions(library: str | None) -> None:
    raw = native.load(library).raw
    assert (raw.GGML_TYPE_Q8_0, raw.LLAMA_FTYPE_MOSTLY_Q4_0, raw.LLAMA_ROPE_SCALING_TYPE_YARN) == (8, 2, 2)


def test_a_model_can_be_loaded_and_run_by_raw_calls_alone(tiny: Path, library: str | None) -> None:
    found = native.load(library)
    raw, ffi = found.raw, found.ffi
    block, params = found.model_params()
    params.n_gpu_layers = 0
    model = raw.llama_model_load_from_file(str(tiny).encode(), block[0])
    context_block, context_params = found.context_params()
    context_params.n_ctx = context_params.n_batch = 64
    context = raw.llama_init_from_model(model, context_block[0])
    try:
        vocab = raw.llama_model_get_vocab(model)
        tokens = ffi.new("llama_token[16]")
        n = raw.llama_tokenize(vocab, b"the lamp", 8, tokens, 16, True, False)
        assert n > 0
        assert raw.llama_decode(context, raw.llama_batch_get_one(tokens, n)) == 0
        sampler = raw.llama_sampler_init_greedy()
        assert 0 <= raw.llama_sampler_sample(sampler, context, -1) < raw.llama_vocab_n_tokens(vocab)
        raw.llama_sampler_free(sampler)
    finally:
        raw.llama_free(context)
        raw.llama_model_free(model)

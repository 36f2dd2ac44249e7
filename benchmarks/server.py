"""xllamacpp's own server, in this process, set up as the benchmarks compare with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["started"]


def started(model: Path, slots: int, context: int, threads: int) -> Any:
    """The server with that model on the CPU: `context` tokens for each of the slots."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_parallel = slots
    params.n_ctx = context * slots
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.verbosity = -1
    return xllamacpp.Server(params)

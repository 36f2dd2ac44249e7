"""Where a model lies: how many layers on the GPU, and how many bytes each part takes on either side.

Plain values; made by the worker before it loads (fit.c), shown by `modkit fit` and `engine.info["plan"]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["Plan", "Share", "bytes_text"]


class Share(NamedTuple):
    """Bytes on the GPUs, and in the computer's memory."""

    gpu: int
    cpu: int


@dataclass(frozen=True)
class Plan:
    """layers: on the GPU, of all_layers (the output layer counts). context: tokens of each slot.

    budget: bytes that all GPUs together may give, margin taken off; 0 without a GPU. weights are exact, from the file;
    kv and compute are what llama.cpp says it would allocate. steps: a sentence for each step down from
    what was asked.
    """

    layers: int
    all_layers: int
    context: int
    budget: int
    weights: Share
    kv: Share
    compute: Share
    steps: tuple[str, ...] = ()

    @property
    def gpu(self) -> int:
        """Bytes on the GPUs in all."""
        return self.weights.gpu + self.kv.gpu + self.compute.gpu

    @property
    def cpu(self) -> int:
        """Bytes in the computer's memory in all (weights that are mapped from the file count, too)."""
        return self.weights.cpu + self.kv.cpu + self.compute.cpu

    def as_json(self) -> dict[str, Any]:
        """As plain values, for JSON; sizes in bytes."""
        parts = {name: getattr(self, name)._asdict() for name in ("weights", "kv", "compute")}
        return {
            "layers": self.layers,
            "all_layers": self.all_layers,
            "context": self.context,
            "budget": self.budget,
            "gpu": self.gpu,
            "cpu": self.cpu,
            "parts": parts,
            "steps": list(self.steps),
        }


def bytes_text(count: int) -> str:
    """1610612736 -> "1.50 GiB"."""
    return f"{count / (1 << 30):.2f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.1f} MiB"

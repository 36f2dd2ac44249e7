"""The generated models that the benchmarks run on, built once into out/bench/ (not under version control).

Their weights are random, so they speak nonsense at exactly the speed of a real model of their shape.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["FOLDER", "cast_model", "frame_model", "small_model"]

FOLDER = Path(__file__).resolve().parent.parent / "out" / "bench"


def _built(name: str, **shape: int | str) -> Path:
    path = FOLDER / name
    if not path.exists():
        from tests.make_model import make_model  # numpy and gguf: only the first run needs them

        FOLDER.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        make_model(unfinished, **shape)  # type: ignore[arg-type]
        unfinished.replace(path)
    return path


def frame_model() -> Path:
    """About 300 MB of Q8_0: 20 layers of 1024, 32,000 tokens, two thirds of it in the layers."""
    return _built("frame-q8_0.gguf", width=1024, layers=20, heads=16, vocab=32000, feed_forward=2816)


def small_model() -> Path:
    """About 20 MB of Q8_0: 4 layers of 256, 32,000 tokens. Quick enough to prefill 3,000 tokens often."""
    return _built("small-q8_0.gguf", width=256, layers=4, heads=4, vocab=32000, feed_forward=768)


def cast_model(tensor_type: str, quick: bool = False) -> Path:
    """The frame's model (or the small one) in other weights: "q8_0", "q4_0" or "f16"."""
    if quick:
        return _built(
            f"small-{tensor_type}.gguf",
            **{"width": 256, "layers": 4, "heads": 4, "vocab": 32000, "feed_forward": 768},
            tensor_type=tensor_type,
        )
    return _built(
        f"frame-{tensor_type}.gguf",
        **{"width": 1024, "layers": 20, "heads": 16, "vocab": 32000, "feed_forward": 2816},
        tensor_type=tensor_type,
    )

"""What `engine.embed()`, `rank()` and `ask()` accept, checked before anything is queued."""

from __future__ import annotations

from collections.abc import Sequence

from modkit.errors import OptionError

__all__ = ["MAX_CHOICES", "MAX_TEXTS", "POOLINGS", "check_choices", "check_texts", "pooling_number"]

MAX_TEXTS = 1 << 20
MAX_CHOICES = 256
POOLINGS = {"none": 0, "mean": 1, "cls": 2, "last": 3}
"""as llama.cpp numbers them; "none" gives a vector for each token"""


def pooling_number(pooling: str | None) -> int:
    """-1 for None (the model's own, or the mean); raises OptionError for a name that is not known."""
    if pooling is None:
        return -1
    if pooling not in POOLINGS:
        raise OptionError(f"pooling={pooling!r}: give None or one of {', '.join(POOLINGS)}")
    return POOLINGS[pooling]


def check_texts(texts: Sequence[str]) -> list[str]:
    """The texts as a list; raises OptionError when there is nothing to embed."""
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise OptionError("texts: give a list of strings (one text is a list of one)")
    checked = list(texts)
    for index, text in enumerate(checked):
        if not isinstance(text, str):
            raise OptionError(f"text {index} is {type(text).__name__}: give strings")
    if not 1 <= len(checked) <= MAX_TEXTS:
        raise OptionError(f"{len(checked)} texts: give 1 to {MAX_TEXTS}")
    return checked


def check_choices(choices: Sequence[str]) -> list[str]:
    """The choices as a list; raises OptionError when there is nothing to choose from."""
    if isinstance(choices, str) or not isinstance(choices, Sequence):
        raise OptionError("choices: give a list of strings")
    checked = list(choices)
    if not 2 <= len(checked) <= MAX_CHOICES or not all(isinstance(c, str) and 0 < len(c) <= 1000 for c in checked):
        raise OptionError(f"choices: give 2 to {MAX_CHOICES} texts of 1 to 1000 characters")
    if len(set(checked)) < len(checked):
        raise OptionError("choices: one is there twice")
    return checked

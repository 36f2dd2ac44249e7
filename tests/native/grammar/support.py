"""What the grammar tests share: how often to try, how to damage a text, how a value may be spelled."""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Iterator
from typing import Any

THOROUGH = bool(os.environ.get("MODKIT_THOROUGH"))


def times(usual: int, thorough: int) -> int:
    """How often a property is tried: MODKIT_THOROUGH=1 asks for the long run."""
    return thorough if THOROUGH else usual


def damaged(text: str, rng: random.Random, alphabet: str) -> str:
    """The text with one to three small injuries."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(text) + 1)
        how = rng.randrange(5)
        if how == 0:
            text = text[:at] + rng.choice(alphabet) + text[at:]
        elif how == 1:
            text = text[:at] + text[at + rng.randint(1, 3) :]
        elif how == 2:
            text = text[:at] + rng.choice(alphabet) + text[at + 1 :]
        elif how == 3:
            text = text[:at]
        else:
            text = text[:at] + text[at : at + rng.randint(1, 8)] * 2 + text[at:]
    return text


def spellings(value: Any) -> Iterator[str]:
    """Canonical spellings of a JSON value, in every order of the keys."""
    if isinstance(value, dict):
        for keys in itertools.permutations(value):
            for items in itertools.islice(itertools.product(*(list(spellings(value[key])) for key in keys)), 200):
                pairs = (f"{json.dumps(key, ensure_ascii=False)}:{item}" for key, item in zip(keys, items))
                yield "{" + ",".join(pairs) + "}"
    elif isinstance(value, list):
        for items in itertools.islice(itertools.product(*(list(spellings(item)) for item in value)), 200):
            yield "[" + ",".join(items) + "]"
    elif isinstance(value, float) and value.is_integer() and abs(value) < 1e17:
        yield str(int(value))
    else:
        yield json.dumps(value, ensure_ascii=False)

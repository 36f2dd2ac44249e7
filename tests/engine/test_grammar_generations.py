"""Random weights at a high temperature under twenty grammars: what is complete is a member, what is cut off begins one.

MODKIT_THOROUGH=1 asks for the 2,000 generations of the promise; the usual run takes a share of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modkit import Engine
from modkit.native.grammar import Grammar
from modkit.persona.action import Action
from modkit.persona.offer import Offers
from tests.conftest import finish_all
from tests.native.grammar.support import times
from tests.native.grammar.test_gbnf import JSON
from tests.native.grammar.test_grammar import Item, Talk
from tests.native.grammar.test_notations import ISO_SUMS, POSTAL, SUMS, TABLES, TIMESTAMP
from tests.native.grammar.test_schema import SCHEMAS


def give(item: str, count: int = 1) -> None:
    """Give it."""


def wait(turns: int) -> None:
    """Wait."""


OFFER = Offers().of([Action(give), Action(wait)], 2)
GRAMMARS = {
    "gbnf": Grammar(JSON),
    "any json": Grammar.from_schema(True),
    "recursion": Grammar.from_schema(SCHEMAS["recursion"]),
    "integers": Grammar.from_schema(SCHEMAS["integers"]),
    "numbers": Grammar.from_schema(SCHEMAS["numbers"]),
    "optional": Grammar.from_schema(SCHEMAS["optional"]),
    "patterns": Grammar.from_schema(SCHEMAS["patterns"]),
    "text": Grammar.from_schema(SCHEMAS["text"]),
    "stamp": Grammar.from_schema(SCHEMAS["stamp"]),
    "one of": Grammar.from_schema(SCHEMAS["one of"]),
    "dataclass": Grammar.from_type(Item),
    "typed dict": Grammar.from_type(Talk),
    "choices": Grammar.from_choices(["yes", "yes, but", "né", "да\n", "😀 no"]),
    "unicode": Grammar.from_regex("[à-ÿЀ-ӿ一-龥😀-😎]{1,9}(\\. [^\\x00-\\x7f]+)?"),
    "except": Grammar.from_regex("[a-z]{1,6}") - ["lamp", "rope"],
    "abnf": Grammar.from_abnf(POSTAL),
    "timestamp": Grammar.from_abnf(TIMESTAMP, "date-time"),
    "ebnf": Grammar.from_ebnf(SUMS) | Grammar.from_ebnf(ISO_SUMS),
    "sql": Grammar.from_tables(TABLES),
    "calls": Grammar(OFFER.gbnf),
}


@pytest.mark.parametrize("model", ["tiny", "spm"])
def test_complete_ones_parse_and_cut_off_ones_begin_a_member(
    model: str, models: Path, make_engine: Callable[..., Engine]
) -> None:
    assert len(GRAMMARS) == 20
    engine = make_engine(models / f"{model}.gguf", slots=8)
    done = {"stop": 0, "length": 0}
    for name, grammar in GRAMMARS.items():
        streams = [
            engine.generate(
                "the lamp",
                grammar=grammar,
                temperature=1.5,
                top_k=0,
                top_p=1,
                min_p=0,
                seed=seed,
                max_tokens=40 + seed % 60,
            )
            for seed in range(times(4, 50))
        ]
        finish_all(engine, streams)
        for stream in streams:
            assert stream.error is None and stream.finish in done, (name, stream.error)
            text = stream.text.removeprefix(" ") if model == "spm" else stream.text
            if stream.finish == "stop":
                assert grammar.accepts(text), (name, text)
            else:
                assert grammar.begins(text.rstrip("\ufffd")), (name, text)
            done[stream.finish] += 1
    assert sum(done.values()) == 20 * times(4, 50) and done["stop"] > 20

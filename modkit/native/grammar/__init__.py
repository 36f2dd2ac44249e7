"""Grammars: what a reply may look like, as data. Pure Python; the worker compiles and enforces them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modkit.lazy import door

if TYPE_CHECKING:
    from modkit.native.grammar.grammar import Grammar

__all__ = ["Grammar"]

# What an action needs of this room is a small part of it; every notation comes with Grammar.
__getattr__, __dir__ = door(__name__, {"grammar": ("Grammar",)})

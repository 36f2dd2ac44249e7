"""Grammars: what a reply may look like, as data. Pure Python; the worker compiles and enforces them."""

from modkit.native.grammar.grammar import Grammar

__all__ = ["Grammar"]

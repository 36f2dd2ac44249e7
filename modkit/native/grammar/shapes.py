"""`Shapes`: a JSON Schema document, its references resolved, each schema as a list of alternatives, values checked.

oneOf is a list whose parts are shown to exclude each other, or else each with the others negated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modkit.errors import GrammarError
from modkit.native.grammar.keywords import KEYWORDS, OPPOSITE, REFUSED, dependent, listed, mapped, own
from modkit.native.grammar.shape import KINDS, Schema, Shape, fits_text, text_language, within
from modkit.native.grammar.values import kind_of, same, short

__all__ = ["Shapes"]

MAX_ALTERNATIVES = 256
MAX_DEPTH = 60
_DEEP = 6  # how deep two alternatives are compared


class Shapes:
    """One schema document: resolves its references, expands it, and checks values against it."""

    def __init__(self, document: Schema) -> None:
        self.document = document
        self._named: dict[str, Schema] = {}
        self._known: dict[int, list[Shape]] = {}
        self._made: list[Schema] = []
        self._moved = False  # an inner $id changes what relative references mean
        dialect = document.get("$schema") if isinstance(document, Mapping) else None
        if isinstance(dialect, str) and any(f"draft-0{n}" in dialect for n in (1, 2, 3)):
            raise GrammarError(f"$schema {dialect!r}: schemas before draft 4 are not read, for their words differ")
        self._find_names(document, "#", 0)

    def expand(self, schema: Schema, resolving: tuple[str, ...] = ()) -> list[Shape]:
        """The alternatives of one schema."""
        if schema is True:
            return [Shape()]
        if schema is False:
            return []
        if not isinstance(schema, Mapping):
            raise GrammarError(f"a schema is an object, true or false, not {short(schema)}")
        if len(resolving) > MAX_DEPTH:
            raise GrammarError(f"the schema is nested more than {MAX_DEPTH} deep")
        if id(schema) not in self._known:
            self._known[id(schema)] = self._expand(schema, resolving)
        return self._known[id(schema)]

    def expand_all(self, schemas: tuple[Schema, ...]) -> list[Shape]:
        """The alternatives of several schemas that apply together."""
        found = [Shape()]
        for schema in schemas:
            found = _product(found, self.expand(schema))
        return found

    def target(self, schema: Schema) -> Schema:
        """What a schema that is only a reference refers to, else the schema itself."""
        seen = 0
        while isinstance(schema, Mapping) and "$ref" in schema and not KEYWORDS & schema.keys():
            schema = self.resolve(schema["$ref"])
            seen += 1
            if seen > MAX_DEPTH:
                raise GrammarError(f"$ref {short(schema)} refers to itself")
        return schema

    def resolve(self, ref: Any) -> Schema:
        """The schema that a $ref names, in this document."""
        if not isinstance(ref, str):
            raise GrammarError(f"$ref {short(ref)} is not a text")
        if self._moved and "://" not in ref:
            raise GrammarError(f"$ref {ref!r} beside an inner $id: write the reference with its whole address")
        if ref in self._named:
            return self._named[ref]
        base, mark, pointer = ref.partition("#")
        here: Any = self._named.get(base) if base else self.document
        if here is None or (pointer and not pointer.startswith("/")):
            raise GrammarError(f"$ref {ref!r} leads out of the schema; only what is inside it can be used")
        from urllib.parse import unquote

        for part in unquote(pointer).split("/")[1:] if mark else ():
            part = part.replace("~1", "/").replace("~0", "~")
            if isinstance(here, Mapping) and part in here:
                here = here[part]
            elif isinstance(here, list) and part.isdigit() and int(part) < len(here):
                here = here[int(part)]
            else:
                raise GrammarError(f"$ref {ref!r} names something that is not there")
        self._named[ref] = here
        return here  # type: ignore[no-any-return]

    # ---- checking values ----

    def allows(self, value: Any, schema: Schema | None = None) -> bool:
        """Whether a value is valid against a schema of the document (None: the document itself)."""
        chosen = self.document if schema is None else schema
        return any(self.fits(value, shape) for shape in self.expand(chosen))

    def fits(self, value: Any, shape: Shape) -> bool:
        """Whether a value is valid against one shape."""
        kind = kind_of(value)
        if kind not in shape.kinds or any(same(value, other) for other in shape.excluded):
            return False
        if shape.values is not None and not any(same(value, other) for other in shape.values):
            return False
        if kind in ("integer", "fraction"):
            return shape.bounds.holds(value)
        if kind == "string":
            return fits_text(value, shape)
        if kind == "array":
            return self._fits_array(value, shape)
        return kind != "object" or self._fits_object(value, shape)

    def _fits_array(self, value: list[Any], shape: Shape) -> bool:
        if not within(len(value), shape.min_items, shape.max_items):
            return False
        if shape.unique and any(same(a, b) for i, a in enumerate(value) for b in value[:i]):
            return False
        if any(sum(self.allows(item, schema) for item in value) < least for least, schema in shape.contains):
            return False
        return all(self.allows(item, schema) for index, item in enumerate(value) for schema in shape.of_item(index))

    def _fits_object(self, value: Mapping[str, Any], shape: Shape) -> bool:
        if not within(len(value), shape.min_properties, shape.max_properties) or shape.required - value.keys():
            return False
        if any(not self.allows(key, schema) for key in value for schema in shape.names):
            return False
        return all(self.allows(item, schema) for key, item in value.items() for schema in shape.of_key(key))

    # ---- whether alternatives exclude each other ----

    def nothing(self, shape: Shape, depth: int = 0) -> bool:
        """Whether it is certain that no value fits."""
        kinds = set(shape.kinds)
        if shape.values is not None:
            return not any(self.fits(value, shape) for value in shape.values)
        if shape.bounds.nothing:
            kinds -= {"integer", "fraction"}
        if not within(shape.min_length, 0, shape.max_length) or self._no_text(shape):
            kinds.discard("string")
        if not within(shape.min_items, 0, shape.max_items):
            kinds.discard("array")
        if depth < _DEEP and "object" in kinds:
            for key in shape.required:
                inner = self.expand_all(shape.of_key(key))
                if all(self.nothing(one, depth + 1) for one in inner):
                    kinds.discard("object")
                    break
        if depth < _DEEP and "array" in kinds:
            for index in range(min(shape.min_items, 20)):
                if all(self.nothing(one, depth + 1) for one in self.expand_all(shape.of_item(index))):
                    kinds.discard("array")
                    break
        return not kinds

    def _no_text(self, shape: Shape) -> bool:
        if len(shape.patterns) + len(shape.formats) + len(shape.not_patterns) < 2:
            return False
        return text_language(shape).nothing

    # ---- expanding ----

    def _find_names(self, schema: Any, base: str, depth: int) -> None:
        """Notes every $id and $anchor, so that references by name are found."""
        if depth > 4 * MAX_DEPTH:
            raise GrammarError(f"the schema is nested more than {MAX_DEPTH} deep")
        if isinstance(schema, Mapping):
            if isinstance(schema.get("$id"), str):
                self._named[schema["$id"].rstrip("#")] = schema
                self._moved = self._moved or depth > 0
            if isinstance(schema.get("$anchor"), str):
                self._named["#" + schema["$anchor"]] = schema
            for key, inner in schema.items():
                if key not in ("enum", "const", "default", "examples"):
                    self._find_names(inner, base, depth + 1)
        elif isinstance(schema, list):
            for inner in schema:
                self._find_names(inner, base, depth + 1)

    def _expand(self, schema: Mapping[str, Any], resolving: tuple[str, ...]) -> list[Shape]:
        for word in REFUSED:
            if word in schema:
                raise GrammarError(f"the keyword {word!r} cannot be expressed in a grammar")
        found = [own(schema)]
        if "$ref" in schema:
            ref = schema["$ref"]
            if ref in resolving:
                raise GrammarError(f"$ref {ref!r} refers to itself without anything in between")
            found = _product(found, self.expand(self.resolve(ref), (*resolving, ref)))
        inner = (*resolving, "")
        for part in listed(schema, "allOf"):
            found = _product(found, self.expand(part, inner))
        if "anyOf" in schema:
            parts = self._joined(listed(schema, "anyOf"))
            found = _product(found, [s for part in parts for s in self.expand(part, inner)])
        if "not" in schema:
            found = _product(found, self._negated(schema["not"], inner))
        for key, wanted in dependent(schema):
            absent = Shape(properties={key: (False,)})
            present = Shape(required=frozenset({key}))
            others = [Shape(kinds=KINDS - {"object"}), replace(absent, kinds=frozenset({"object"}))]
            there = [replace(present, kinds=frozenset({"object"}))]
            if isinstance(wanted, list):
                there = [replace(there[0], required=frozenset({key, *wanted}))]
            else:
                there = _product(there, self.expand(wanted, inner))
            found = _product(found, [*others, *there])
        if "if" in schema and ("then" in schema or "else" in schema):
            held = _product(self.expand(schema["if"], inner), self.expand(schema.get("then", True), inner))
            failed = _product(self._negated(schema["if"], inner), self.expand(schema.get("else", True), inner))
            found = _product(found, [*held, *failed])
        if "oneOf" in schema:
            found = _product(found, self._one_of(schema, found, inner))
        if schema.get("nullable") is True:
            found = [*found, Shape(kinds=frozenset({"null"}))]
        return found

    def _joined(self, parts: list[Any], distinct: bool = False) -> list[Any]:
        """Alternatives with those that only list values made one: an enum whose values have titles is written so."""
        lists = [part for part in parts if isinstance(part, Mapping) and "$ref" not in part and _lists(part)]
        values = [value for part in lists for value in own(part).values or ()]
        if len(lists) < 2 or (distinct and any(same(v, w) for n, v in enumerate(values) for w in values[:n])):
            return parts
        joined = {"enum": values}
        self._made.append(joined)  # kept, because shapes are known by identity
        return [joined, *(part for part in parts if not any(part is one for one in lists))]

    def _one_of(self, schema: Mapping[str, Any], beside: list[Shape], inner: tuple[str, ...]) -> list[Shape]:
        """The alternatives as they are where they exclude each other, else each with the others negated."""
        parts = self._joined(listed(schema, "oneOf"), distinct=True)
        groups = [self.expand(part, inner) for part in parts]
        overlap = any(
            not self.nothing(both)
            for index, group in enumerate(groups)
            for other in groups[:index]
            for both in _product(_product(group, other), beside)
        )
        if not overlap:
            return [shape for group in groups for shape in group]
        found: list[Shape] = []
        for index, group in enumerate(groups):
            alone = group
            for other, part in enumerate(parts):
                if other != index:
                    alone = _product(alone, self._negated(part, inner))
            found += [shape for shape in alone if not self.nothing(shape)]
        return found

    def _negated(self, schema: Schema, inner: tuple[str, ...]) -> list[Shape]:
        """What a schema does not allow: whatever fails one of its keywords."""
        schema = self.target(schema)
        if isinstance(schema, bool):
            return [] if schema else [Shape()]
        if len(inner) > MAX_DEPTH:
            raise GrammarError(f"the schema is nested more than {MAX_DEPTH} deep")
        words = [word for word in schema if word in KEYWORDS]
        return [shape for word in words for shape in self._negated_word(schema, word, (*inner, ""))]

    def _negated_word(self, schema: Mapping[str, Any], word: str, inner: tuple[str, ...]) -> list[Shape]:
        value = schema[word]
        if word == "type":
            return [Shape(kinds=KINDS - own({"type": value}).kinds)]
        if word in ("enum", "const"):
            return [Shape(excluded=own({word: value}).values or ())]
        if word == "not":
            return self.expand(value, inner)
        if word == "allOf":
            return [shape for part in listed(schema, word) for shape in self._negated(part, inner)]
        if word == "anyOf":
            found = [Shape()]
            for part in listed(schema, word):
                found = _product(found, self._negated(part, inner))
            return found
        objects = Shape(kinds=frozenset({"object"}))
        if word == "required":
            return [replace(objects, properties={key: (False,)}) for key in listed(schema, word)]
        if word == "properties":
            found = []
            for key, part in mapped(schema, word).items():
                opposite = {"not": part}
                self._made.append(opposite)  # kept, because shapes are known by identity
                found.append(replace(objects, required=frozenset({key}), properties={key: (opposite,)}))
            return found
        opposite_of = OPPOSITE.get(word)
        if opposite_of is None:
            raise GrammarError(f"the opposite of {word!r} cannot be expressed in a grammar (under not, oneOf or if)")
        return opposite_of(schema, value)


def _lists(schema: Mapping[str, Any]) -> bool:
    words = KEYWORDS & schema.keys()
    return bool(words) and words <= {"const", "enum"}


def _product(one: list[Shape], other: list[Shape]) -> list[Shape]:
    if len(one) * len(other) > MAX_ALTERNATIVES:
        raise GrammarError(f"the schema comes to more than {MAX_ALTERNATIVES} alternatives; make it flatter")
    return [a.meet(b) for a in one for b in other]

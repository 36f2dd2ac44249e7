"""Python types → JSON Schema: what a dataclass, a TypedDict or the parameters of a function look like as JSON.

Limits are written with `Annotated`, in whatever way they are known from elsewhere: a `range`, a compiled pattern, a
list of the values there are (or a function that returns it, called now), a text that describes; and any object with
`ge`, `gt`, `le`, `lt`, `multiple_of`, `min_length`, `max_length` or `pattern`, as annotated-types, msgspec and
pydantic have them.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import inspect
import re
import types
import typing
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from modkit.errors import GrammarError

__all__ = ["hints_of", "schema_of", "schema_of_parameters"]

_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    Any: {},
    object: {},
    datetime.date: {"type": "string", "format": "date"},
    datetime.time: {"type": "string", "format": "time"},
    datetime.datetime: {"type": "string", "format": "date-time"},
    uuid.UUID: {"type": "string", "format": "uuid"},
    list: {"type": "array"},
    dict: {"type": "object"},
}
_LIMITS = {
    "ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum", "multiple_of": "multipleOf",
}  # fmt: skip
_UNIONS = (Union, types.UnionType)


def schema_of(kind: Any) -> dict[str, Any]:
    """The schema of a type. Raises GrammarError with the type's name for what JSON cannot be."""
    made = _Schemas()
    schema = made.of(kind)
    return {**schema, "$defs": made.definitions} if made.definitions else schema


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function, read where it stands: what its body uses of an outer function is known too."""
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    around = {}
    for name, cell in zip(names, getattr(function, "__closure__", None) or ()):
        try:
            around[name] = cell.cell_contents
        except ValueError:  # not set yet
            continue
    try:
        return typing.get_type_hints(function, localns=around or None, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        name = getattr(function, "__name__", repr(function))
        raise GrammarError(
            f"{name}(): its annotations cannot be read: {error}; names in them must be known at the module's top level"
        ) from None


def schema_of_parameters(function: Callable[..., Any], skip: int = 0) -> dict[str, Any]:
    """The schema of the arguments of a function as one object; its first `skip` parameters are somebody else's."""
    name = getattr(function, "__name__", repr(function))
    hints = hints_of(function)
    made = _Schemas()
    properties: dict[str, Any] = {}
    required: list[str] = []
    for index, parameter in enumerate(inspect.signature(function).parameters.values()):
        if index < skip:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise GrammarError(f"{name}(): the parameter {parameter.name!r} has no name that a call could give")
        if parameter.name not in hints:
            raise GrammarError(f"{name}(): give the parameter {parameter.name!r} a type, such as {parameter.name}: str")
        try:
            properties[parameter.name] = made.of(hints[parameter.name])
        except GrammarError as error:
            raise GrammarError(f"{name}(): the parameter {parameter.name!r}: {error}") from None
        if parameter.default is parameter.empty:
            required.append(parameter.name)
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {**schema, "$defs": made.definitions} if made.definitions else schema


class _Schemas:
    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        self.names: dict[Any, str] = {}

    def of(self, kind: Any) -> dict[str, Any]:
        try:
            plain = _PLAIN.get(kind)
        except TypeError:
            plain = None
        if plain is not None:
            return dict(plain)
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is typing.Annotated:
            return self.limited(self.of(arguments[0]), kind.__metadata__)
        if origin is Literal:
            return {"enum": [value.value if isinstance(value, enum.Enum) else value for value in arguments]}
        if origin in _UNIONS:
            return {"anyOf": [self.of(argument) for argument in arguments]}
        if origin is not None:
            return self.generic(origin, arguments, kind)
        if isinstance(kind, typing.NewType):
            return self.of(kind.__supertype__)
        if isinstance(kind, type):
            return self.named(kind)
        raise GrammarError(f"{kind!r} is no type that JSON could be read into")

    def generic(self, origin: Any, arguments: tuple[Any, ...], kind: Any) -> dict[str, Any]:
        if origin in (list, set, frozenset, Sequence, Iterable) or (origin is tuple and arguments[1:] == (...,)):
            return {"type": "array", "items": self.of(arguments[0])}
        if origin is tuple:
            count = len(arguments)
            items = [self.of(argument) for argument in arguments]
            return {"type": "array", "prefixItems": items, "items": False, "minItems": count, "maxItems": count}
        if origin in (dict, Mapping) and arguments[0] is str:
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        if typing.is_typeddict(origin) or dataclasses.is_dataclass(origin):
            raise GrammarError(f"{kind!r}: generic classes are not read; name the type of each field")
        raise GrammarError(f"{kind!r} is no type that JSON could be read into")

    def named(self, kind: type) -> dict[str, Any]:
        if issubclass(kind, enum.Enum):
            return {"enum": [member.value for member in kind]}
        if kind not in self.names:
            made = self.foreign(kind)
            if made is None and not (dataclasses.is_dataclass(kind) or typing.is_typeddict(kind)):
                raise GrammarError(f"{kind.__qualname__} is no type that JSON could be read into")
            name = self.names[kind] = self.fresh(kind.__name__)
            self.definitions[name] = made if made is not None else self.fields(kind)
        return {"$ref": f"#/$defs/{self.names[kind]}"}

    def foreign(self, kind: type) -> dict[str, Any] | None:
        """msgspec's and pydantic's classes know their schema themselves; what they define becomes ours."""
        if hasattr(kind, "model_json_schema"):
            schema = kind.model_json_schema()
        elif hasattr(kind, "__struct_fields__"):
            import msgspec

            schema = msgspec.json.schema(kind)
        else:
            return None
        inner = schema.get("$defs", {})
        names = {name: self.fresh(name) for name in inner}
        self.definitions.update({names[name]: _moved(part, names) for name, part in inner.items()})
        return {word: _moved(part, names) for word, part in schema.items() if word != "$defs"}

    def fresh(self, name: str) -> str:
        """A name that no definition has: two models may each have an Item of their own."""
        while name in self.definitions:
            name += "-2"
        self.definitions[name] = {}
        return name

    def fields(self, kind: type) -> dict[str, Any]:
        try:
            hints = typing.get_type_hints(kind, include_extras=True)
        except (NameError, TypeError) as error:
            raise GrammarError(f"{kind.__qualname__}: its annotations cannot be read: {error}") from None
        if typing.is_typeddict(kind):
            required = [name for name in hints if name in kind.__required_keys__]  # type: ignore[attr-defined]
            hints = {name: _bare(hint) for name, hint in hints.items()}
        else:
            fields = [field for field in dataclasses.fields(kind) if field.init]
            missing = dataclasses.MISSING
            required = [f.name for f in fields if f.default is missing and f.default_factory is missing]
            hints = {field.name: hints[field.name] for field in fields}
        properties = {name: self.of(hint) for name, hint in hints.items()}
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    def limited(self, schema: dict[str, Any], metadata: tuple[Any, ...]) -> dict[str, Any]:
        found = dict(schema)
        for item in metadata:
            _limit(found, item)
        return found


def _moved(part: Any, names: Mapping[str, str]) -> Any:
    """A part of a foreign schema whose definitions have other names; bytes are base64, which schemas only note."""
    if isinstance(part, list):
        return [_moved(item, names) for item in part]
    if not isinstance(part, dict):
        return part
    found = {word: _moved(item, names) for word, item in part.items()}
    ref = found.get("$ref")
    if isinstance(ref, str) and ref.startswith("#/$defs/"):
        name, slash, rest = ref[8:].partition("/")
        found["$ref"] = f"#/$defs/{names.get(name, name)}{slash}{rest}"
    if found.get("contentEncoding") == "base64":
        found["format"] = "byte"
    return found


def _limit(schema: dict[str, Any], item: Any) -> None:
    if isinstance(item, str):
        schema["description"] = item
    elif isinstance(item, range):
        if not item:
            schema["enum"] = []
        elif item.step == 1:
            schema.update(minimum=item[0], maximum=item[-1])
        else:
            schema["enum"] = list(item)
    elif isinstance(item, re.Pattern):
        schema["pattern"] = f"^(?:{item.pattern})$"
    elif isinstance(item, list | tuple | set | frozenset):
        schema["enum"] = sorted(item, key=repr) if isinstance(item, set | frozenset) else list(item)
    elif any(hasattr(item, name) for name in (*_LIMITS, "min_length", "max_length", "pattern")):
        for name, word in _LIMITS.items():
            if getattr(item, name, None) is not None:
                schema[word] = getattr(item, name)
        array = schema.get("type") == "array"
        for name, word in (("min_length", "minItems" if array else "minLength"),
                           ("max_length", "maxItems" if array else "maxLength")):  # fmt: skip
            if getattr(item, name, None) is not None:
                schema[word] = getattr(item, name)
        if isinstance(getattr(item, "pattern", None), str):
            schema["pattern"] = item.pattern
    elif callable(item):
        schema["enum"] = list(item())
    elif isinstance(getattr(item, "metadata", None), list):  # pydantic's Field(ge=1), which keeps its limits inside
        for inner in item.metadata:
            _limit(schema, inner)
    # anything else is metadata for somebody else


def _bare(hint: Any) -> Any:
    """A TypedDict's field without Required and NotRequired."""
    name = getattr(get_origin(hint), "_name", None) or str(get_origin(hint))
    return get_args(hint)[0] if name in ("Required", "NotRequired", "ReadOnly") else hint

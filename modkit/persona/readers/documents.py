"""Documents that are read as a whole: JSON with and without comments, XML without its dangers.

Everything here is bounded and raises DumpError alone. XML is read by expat with every entity
declaration refused, so there is nothing to expand and nothing to fetch.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from modkit.errors import DumpError
from modkit.persona.readers.source import MAX_TEXT_BYTES, DumpFile
from modkit.persona.values import integer

__all__ = ["Element", "number_text", "parse_json", "plain_markup", "xml_trees"]

MAX_XML_BYTES = 512 * 1024 * 1024  # read in pieces, so this bounds time and not memory
_MAX_XML_DEPTH = 200
_MAX_TREE_NODES = 500_000
_MAX_TOKEN_BYTES = 4 * 1024 * 1024  # fed to expat without one event: a tag that does not end
_BLOCK = 64 * 1024

_COMMENT = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*(?:"|\Z))|//[^\n]*|/\*.*?(?:\*/|\Z)', re.DOTALL)
_TRAILING = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*(?:"|\Z))|,(?=[ \t\r\n]*[}\]])', re.DOTALL)
_DECLARED = re.compile(rb"""\A\s*<\?xml[^>]{0,200}encoding\s*=\s*["']([\w.-]{1,40})["']""")
_CONTROLS = {code: None for code in range(32) if chr(code) not in "\t\n\r"}
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,400}>")
_BREAK_TAG = re.compile(r"<(?:br|p|lf)\s*/?>", re.IGNORECASE)


def parse_json(
    file: DumpFile, *, limit: int = MAX_TEXT_BYTES, comments: bool = False, keep: Collection[str] | None = None
) -> Any:
    """The value of a JSON document of at most `limit` bytes; DumpError when it is none.

    `comments` allows what game loaders allow: comments, trailing commas, line breaks in strings. With
    `keep`, objects lose every other key while they are parsed, so a huge scene stays small in memory.
    """
    text = file.text(limit)
    if comments:
        text = _TRAILING.sub(r"\1", _COMMENT.sub(lambda found: found.group(1) or " ", text))
    hook: Callable[[dict[str, Any]], Any] | None = None
    if keep is not None:
        kept = frozenset(keep)

        def hook(value: dict[str, Any]) -> Any:
            return {key: item for key, item in value.items() if key in kept}

    try:
        return json.loads(text, parse_int=integer, strict=not comments, object_hook=hook)
    except RecursionError:
        raise DumpError(f"{file.name} is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise DumpError(
            f"{file.name} is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from None
    except ValueError as error:
        raise DumpError(f"{file.name} is not valid JSON: {str(error)[:100]}") from None


def number_text(value: object) -> str:
    """An id as text, whether the file wrote a number or a string; "" for anything else."""
    if isinstance(value, str):
        return value.strip()[:200]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def plain_markup(text: str) -> str:
    """`text` without tags in angle brackets; those that break a line leave a space."""
    if "<" not in text:
        return text
    return _TAG.sub("", _BREAK_TAG.sub(" ", text))


@dataclass(slots=True)
class Element:
    """An XML element. `text` is what stands directly inside it, `line` where it begins."""

    tag: str
    attributes: dict[str, str]
    line: int = 0
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def child(self, tag: str) -> Element | None:
        """The first child called `tag`."""
        return next((child for child in self.children if child.tag == tag), None)

    def child_text(self, tag: str) -> str:
        """The text of the first child called `tag`, "" when there is none."""
        found = self.child(tag)
        return found.text if found else ""


class _Builder:
    """Turns expat's events into trees for the outermost elements of the wanted names."""

    def __init__(self, file: DumpFile, names: Collection[str]) -> None:
        self._file = file
        self._names = frozenset(names)
        self._depth = 0
        self._nodes = 0
        self._stack: list[Element] = []
        self._pieces: list[list[str]] = []
        self.events = 0
        self.done: list[Element] = []
        self.parser = parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.EntityDeclHandler = self._refuse
        parser.CommentHandler = self._other
        parser.ProcessingInstructionHandler = self._other

    def _other(self, *_: object) -> None:
        self.events += 1

    def _refuse(self, *_: object) -> None:
        raise DumpError(f"{self._file.name} declares XML entities, which are not read: remove its DOCTYPE")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self.events += 1
        self._depth += 1
        if self._depth > _MAX_XML_DEPTH:
            raise DumpError(f"{self._file.name} is nested too deeply")
        if not self._stack and not {tag, f"{tag}#{attributes.get('id', '')}"} & self._names:
            return
        if not self._stack:
            self._nodes = 0
        self._nodes += 1
        if self._nodes > _MAX_TREE_NODES:
            raise DumpError(f"{self._file.name} has more than {_MAX_TREE_NODES:,} elements in one: split it")
        element = Element(tag, attributes, self.parser.CurrentLineNumber)
        if self._stack:
            self._stack[-1].children.append(element)
        self._stack.append(element)
        self._pieces.append([])

    def _end(self, tag: str) -> None:
        self.events += 1
        self._depth -= 1
        if not self._stack:
            return
        element = self._stack.pop()
        element.text = "".join(self._pieces.pop())
        if not self._stack:
            self.done.append(element)

    def _characters(self, text: str) -> None:
        self.events += 1
        if self._pieces and len(self._pieces[-1]) < 10_000:
            self._pieces[-1].append(text)


def _encoding(file: DumpFile) -> str:
    raw = file.raw_head
    for bom, encoding in ((codecs.BOM_UTF8, "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if raw.startswith(bom):
            return encoding
    declared = _DECLARED.match(raw)
    name = declared.group(1).decode("ascii", "replace").casefold() if declared else ""
    return name if name.startswith(("windows-125", "iso-8859-", "cp125")) else "utf-8"


def xml_trees(file: DumpFile, names: Collection[str], limit: int = MAX_XML_BYTES) -> Iterator[Element]:
    """The outermost elements called one of `names`, one after the other as the file is read.

    "node#dialog" stands for an element `node` whose attribute `id` is "dialog".

    Raises DumpError where the document stops being well-formed, after what came before was yielded,
    and at the first entity declaration.
    """
    if file.size > limit:
        raise DumpError(f"{file.name} is {file.size // 1_000_000} MB, more than the {limit // 1_000_000} MB read")
    builder = _Builder(file, names)
    try:
        decoder = codecs.getincrementaldecoder(_encoding(file))("modkit-cp1252")
    except LookupError:
        decoder = codecs.getincrementaldecoder("utf-8")("modkit-cp1252")
    quiet, events = 0, -1
    try:
        for block in file.blocks(_BLOCK):
            builder.parser.Parse(decoder.decode(block).translate(_CONTROLS).encode("utf-8", "replace"), False)
            yield from builder.done
            builder.done.clear()
            quiet = quiet + len(block) if builder.events == events else 0
            events = builder.events
            if quiet > _MAX_TOKEN_BYTES:
                raise DumpError(f"{file.name} has a tag of more than {_MAX_TOKEN_BYTES // 1_000_000} MB")
        builder.parser.Parse(b"", True)
    except expat.ExpatError as error:
        yield from builder.done
        raise DumpError(f"{file.name} is damaged at line {error.lineno}: {expat.ErrorString(error.code)}") from None
    except UnicodeError:
        raise DumpError(f"{file.name} is damaged: its bytes are not {_encoding(file)}") from None


def _as_cp1252(error: UnicodeError) -> tuple[str, int]:
    """One byte that is no UTF-8, read as cp1252: old tools wrote it into files that are UTF-8 otherwise."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.start + 1].decode("cp1252", "replace"), error.start + 1


codecs.register_error("modkit-cp1252", _as_cp1252)

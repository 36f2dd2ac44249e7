"""A dump file as readers see it: bounded, decoded, with a place for every line.

Nothing here keeps a whole file in memory unless a reader asks for `text()`, which has a limit.
One `DumpFile` belongs to one reading and to the thread that reads.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from modkit.errors import DumpError
from modkit.persona.lines import MAX_NAME, Line, Source, display_path, speaker_name, tidy

__all__ = ["HEAD_BYTES", "MAX_LINE_BYTES", "MAX_TEXT_BYTES", "DumpFile", "display_path"]

HEAD_BYTES = 64 * 1024  # what sniffing may look at
MAX_LINE_BYTES = 1024 * 1024  # of one physical line; the rest of a longer one is passed over
MAX_TEXT_BYTES = 64 * 1024 * 1024  # of a file that has to be parsed as a whole

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NEWLINES = re.compile("\r\n|\r|\n")

# Old games wrote each language in the code page of its Windows, and only the folder or the file's name says which.
_CODE_PAGES = {
    "cp1250": ("polish", "polski", "pl", "pl_pl", "czech", "cesky", "cs_cz", "hungarian", "magyar", "hu_hu"),
    "cp1251": ("russian", "russkij", "ru", "ru_ru", "ukrainian", "uk_ua", "bulgarian"),
    "cp1253": ("greek",),
    "cp1254": ("turkish", "tr_tr"),
    "gb18030": ("schinese", "chinese", "chineses", "zh_cn"),
    "cp950": ("tchinese", "chineset", "zh_tw"),
    "cp932": ("japanese", "ja_jp"),
    "cp949": ("korean", "ko_kr"),
}
_PAGE_OF = {name: page for page, names in _CODE_PAGES.items() for name in names}


def _code_page(path: Path) -> str:
    """The code page of the language that the file's name or one of its three nearest folders names; else cp1252."""
    names = [path.stem.rsplit("_", 1)[-1], path.stem, *reversed(path.parent.parts[-3:])]
    return next((page for name in names if (page := _PAGE_OF.get(name.casefold().replace("-", "_")))), "cp1252")


def _decode(raw: bytes, page: str) -> str:
    """Strict UTF-8, then the code page. Line by line, so one bad byte does not spoil a file's other accents."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode(page, "replace")


class DumpFile:
    """One file of a dump.

    `path` is the file, `name` how it is shown, `size` its bytes, `head` its first 64 KB decoded and
    `raw_head` the same undecoded. Raises DumpError when the file cannot be read.
    """

    def __init__(self, path: Path, on_progress: Callable[[int], None] | None = None) -> None:
        self.path = path
        self.name = display_path(path)
        self.suffix = path.suffix.casefold()
        self.warnings: list[str] = []
        self.memo: dict[str, str | None] = {}  # what sniffing found out, for the next reader that asks
        self._on_progress = on_progress
        self._index = 0
        self._page = _code_page(path)
        try:
            self.size = path.stat().st_size
            with path.open("rb") as file:
                self.raw_head = file.read(HEAD_BYTES)
        except OSError as error:
            raise DumpError(f"{self.name} cannot be read: {error.strerror or error}") from error
        self._encoding, self._bom = next(
            ((encoding, len(bom)) for bom, encoding in _BOMS if self.raw_head.startswith(bom)), ("", 0)
        )
        self.head = self._decode_block(self.raw_head[self._bom :])

    @property
    def binary(self) -> bool:
        """Whether the file is not text: NUL bytes where no byte order mark explains them."""
        return not self._encoding.startswith(("utf-16", "utf-32")) and b"\0" in self.raw_head

    def _decode_block(self, raw: bytes) -> str:
        if self._encoding and self._encoding != "utf-8":
            return raw.decode(self._encoding, "replace")
        return "\n".join(_decode(line, self._page) for line in raw.split(b"\n"))

    def warn(self, message: str) -> None:
        """Note something that was passed over; the first few of a file are shown to the user."""
        if len(self.warnings) < 100:
            self.warnings.append(message)

    def text(self, limit: int = MAX_TEXT_BYTES) -> str:
        """The whole file, newlines as they are. Raises DumpError above `limit` bytes."""
        if self.size > limit:
            raise DumpError(
                f"{self.name} is {self.size // 1_000_000} MB, more than the {limit // 1_000_000} MB this format "
                "is read in one piece; split it, or save it as JSON lines"
            )
        try:
            with self.path.open("rb") as file:
                raw = file.read(limit + 1)
        except OSError as error:
            raise DumpError(f"{self.name} cannot be read: {error.strerror or error}") from error
        self._advance(len(raw))
        return self._decode_block(raw[self._bom : limit]).replace("\0", "")

    def blocks(self, size: int) -> Iterator[bytes]:
        """The file's bytes in pieces of `size`, for a parser that takes them so."""
        try:
            with self.path.open("rb") as file:
                while raw := file.read(size):
                    self._advance(len(raw))
                    yield raw
        except OSError as error:
            raise DumpError(f"{self.name} cannot be read: {error.strerror or error}") from error

    def lines(self) -> Iterator[tuple[int, str]]:
        """(number from 1, text without its newline) for every line, without holding the file."""
        number = 0
        for chunk in self._physical_lines():
            for piece in _NEWLINES.split(chunk):  # "\r" alone ends a line in files of old Macs
                number += 1
                yield number, piece.replace("\0", "")

    def _physical_lines(self) -> Iterator[str]:
        try:
            if self._encoding and self._encoding != "utf-8":
                yield from self._wide_lines()
                return
            with self.path.open("rb") as file:
                file.seek(self._bom)
                while raw := file.readline(MAX_LINE_BYTES):
                    self._advance(len(raw))
                    if not raw.endswith(b"\n") and len(raw) == MAX_LINE_BYTES:
                        self.warn("a line longer than 1 MB was cut")
                        while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                            self._advance(len(rest))
                    yield _decode(raw.removesuffix(b"\n").removesuffix(b"\r"), self._page)
        except OSError as error:
            raise DumpError(f"{self.name} cannot be read: {error.strerror or error}") from error

    def _wide_lines(self) -> Iterator[str]:
        with self.path.open("r", encoding=self._encoding, errors="replace", newline="\n") as file:
            file.seek(self._bom)
            while piece := file.readline(MAX_LINE_BYTES):
                self._advance(2 * len(piece))
                yield piece.removesuffix("\n").removesuffix("\r")

    def _advance(self, count: int) -> None:
        if self._on_progress is not None:
            self._on_progress(count)

    def line(
        self,
        place: int | str,
        text: str,
        speaker: str | None = None,
        kind: str = "dialogue",
        *,
        scene: str | None = None,
        addressee: str | None = None,
        lang: str | None = None,
        id: str | None = None,
    ) -> Line | None:
        """A `Line` of this file, tidied and numbered; None when no text is left. An int place is a line number."""
        text = tidy(text)
        if not text:
            return None
        index, self._index = self._index, self._index + 1
        return Line(
            text=text,
            speaker=speaker_name(speaker),
            kind=kind,
            scene=(tidy(scene, MAX_NAME) or None) if scene else None,
            index=index,
            addressee=speaker_name(addressee),
            lang=(tidy(lang, 40) or None) if lang else None,
            source=Source(self.name, f"line {place}" if isinstance(place, int) else place),
            id=(tidy(id, MAX_NAME) or None) if id else None,
        )

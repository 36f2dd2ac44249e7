"""WeiDU: the dialogue (.d) of Baldur's Gate, Icewind Dale and Planescape mods, with its texts (.tra).

A .d says who speaks, by the name of a dialogue file; @12 in it is line 12 of the .tra of that name.
One person has several such files (banter, joined, parted), so an alias usually puts them together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from modkit.persona.lines import Line
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile

_MAX_BYTES = 32 * 1024 * 1024  # of a .tra
_MAX_D_BYTES = 4 * 1024 * 1024  # of a .d, whose tokens are looked ahead in

# What is opened and not closed runs to the end of the file, so that no piece is looked at twice.
_TOKEN = re.compile(
    r"//[^\n]*|/\*.*?(?:\*/|\Z)"
    r"|%\w{1,40}%(?=\w)"  # a variable in front of a name, which only says which game it is
    r"|~~~~~(?P<five>.*?)(?:~~~~~|\Z)|~(?P<tilde>[^~]*)(?:~|\Z)"
    r'|"(?P<quote>[^"]*)(?:"|\Z)|%(?P<percent>[^%]*)(?:%|\Z)'
    r"|@(?P<ref>-?\d{1,9})|\[[^\]\n]{0,80}\]|(?P<word>\+\+|==|[=+]|[^\s~\"%@/\[\]=+]+)",
    re.DOTALL,
)
_GAME = re.compile(r"%\w{1,40}%(?=\w)")  # as in the tokens, inside a string
_TRA = re.compile(r"(?m)^[ \t]*@-?\d{1,9}[ \t]*=[ \t]*[~\"%]")
_OPENS = "BEGIN|CHAIN2?|EXTEND_BOTTOM|EXTEND_TOP|APPEND(?:_EARLY)?|INTERJECT(?:_COPY_TRANS[234]?)?"
_D = re.compile(rf'(?m)^[ \t]*(?:{_OPENS})\s{{1,20}}[~"%\w]', re.IGNORECASE)
_D_INSIDE = re.compile(r"@\d+|~[^~]{0,500}~|\b(?:SAY|END|EXIT)\b")
# COMPILE ~a.d~ ~b.d~ USING ~c.tra~ in an installer's script says which texts a dialogue of another name has.
_STRINGS = r"(?:\s{1,40}(?:EVAL\w{0,16}|~[^~]{0,300}~|\"[^\"]{0,300}\")){1,60}"
_COMPILE = re.compile(rf"\bCOMPILE(?P<ds>{_STRINGS})\s{{1,40}}USING(?P<tras>{_STRINGS})", re.IGNORECASE)
_FILE = re.compile(r"([^~\"/\\\n]{1,100})\.(?:d|tra)[~\"]", re.IGNORECASE)
_INSTALLERS = (".tp2", ".tpa", ".tph", ".tpp")
_TRA_FOLDERS = ("tra", "lang", "language", "languages", "translations", "translation")

_FILLERS = ("IF_FILE_EXISTS", "SAFE")
_INTERJECTS = ("INTERJECT", *(f"INTERJECT_COPY_TRANS{n}" for n in ("", "2", "3", "4")))
_JOURNALS = ("JOURNAL", "SOLVED_JOURNAL", "UNSOLVED_JOURNAL")
_CODE = ("DO", "IF", "WEIGHT", "BRANCH")  # the string that follows is a script


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # "word", "text" or "ref"
    value: str
    at: int


def _tokens(text: str) -> Iterator[_Token]:
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup
        if kind == "ref" or kind == "word":
            yield _Token(kind, found.group(kind), found.start())
        elif kind is not None:
            yield _Token("text", found.group(kind), found.start())


def _tra_sniff(file: DumpFile) -> float:
    return 0.95 if _TRA.search(file.head) else 0.0


def _tra_texts(file: DumpFile) -> dict[str, str]:
    """Number to text; a second string is the same for a woman, a [SOUND] is none."""
    texts: dict[str, str] = {}
    number: str | None = None
    equals = False
    for token in _tokens(file.text(_MAX_BYTES)):
        if token.kind == "ref":
            number, equals = token.value, False
        elif token.kind == "word":
            equals = number is not None and token.value == "="
        elif number is not None and equals:
            texts[number] = token.value
            number = None
    return texts


def _language(file: DumpFile) -> str | None:
    parts = file.path.parts
    return parts[-2] if len(parts) > 2 and parts[-3].casefold() in _TRA_FOLDERS else None


def _scan_tra(file: DumpFile, join: Join) -> None:
    by_language = join.table("weidu.tra").setdefault(file.path.stem.casefold(), {})
    assert isinstance(by_language, dict)
    by_language.setdefault(_language(file), {}).update(_tra_texts(file))


@reader("weidu tra", "WeiDU translation", sniff=_tra_sniff, extensions=(".tra",), scan=_scan_tra)
def read_tra(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Its texts by themselves, where no .d of that name says who speaks them."""
    if file.path.stem.casefold() in {name for d in join.table("weidu.d") for name in _tras_of(d, join)}:
        return
    for number, text in _tra_texts(file).items():
        yield file.line(f"@{number}", text, lang=_language(file), id=f"{file.path.stem} @{number}")


def _tras_of(stem: str, join: Join) -> list[str]:
    """The names of the .tra files in which the texts of the .d of that name are, nearest first."""
    using = join.table("weidu.using").get(stem)
    return [stem, *(using if isinstance(using, list) else ())]


def _installer_sniff(file: DumpFile) -> float:
    return 1.0 if file.suffix in _INSTALLERS and not file.binary else 0.0


def _scan_installer(file: DumpFile, join: Join) -> None:
    using = join.table("weidu.using")
    for found in _COMPILE.finditer(file.text(_MAX_BYTES)):
        tras = [name.casefold() for name in _FILE.findall(found["tras"])]
        for name in _FILE.findall(found["ds"]):
            names = using.setdefault(name.casefold(), [])
            assert isinstance(names, list)
            names.extend(tra for tra in tras if tra not in names)


@reader(
    "weidu installer",
    "WeiDU installer",
    sniff=_installer_sniff,
    extensions=_INSTALLERS,
    scan=_scan_installer,
)
def read_installer(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Nothing: nobody speaks in an installer; it only says which texts belong to which dialogue."""
    return iter(())


def _d_sniff(file: DumpFile) -> float:
    return 0.95 if _D.search(file.head) and _D_INSIDE.search(file.head) and not _TRA.search(file.head) else 0.0


def _scan_d(file: DumpFile, join: Join) -> None:
    join.table("weidu.d")[file.path.stem.casefold()] = True


@reader("weidu", "WeiDU dialogue", sniff=_d_sniff, extensions=(".d",), scan=_scan_d)
def read_weidu(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """What each dialogue file says, and the player's replies."""
    tables = join.table("weidu.tra")
    languages: dict[str | None, dict[str, str]] = {}
    for each in map(tables.get, [*_tras_of(file.path.stem.casefold(), join), "setup"]):
        if isinstance(each, dict):
            for lang, texts in each.items():
                languages[lang] = {**texts, **languages.get(lang, {})}
    missing = 0
    source = file.text(_MAX_D_BYTES)
    line_number, counted = 1, 0
    for said in _Dialogue(list(_tokens(source))).said():
        line_number += source.count("\n", counted, said.token.at)
        counted = max(counted, said.token.at)
        if said.token.kind == "text":
            yield file.line(line_number, said.token.value, said.speaker, said.kind, scene=said.scene)
            continue
        here = {lang: texts[said.token.value] for lang, texts in languages.items() if said.token.value in texts}
        missing += not here
        for lang, text in here.items():
            identity = f"{file.path.stem} @{said.token.value}"
            yield file.line(line_number, text, said.speaker, said.kind, scene=said.scene, lang=lang, id=identity)
    if missing:
        file.warn(f"{missing} texts are in a .tra file that was not given")


@dataclass(frozen=True, slots=True)
class _Said:
    token: _Token
    speaker: str | None
    kind: str
    scene: str | None


class _Dialogue:
    """One pass over the tokens of a .d: what the next text means follows from the words before it."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._owner: str | None = None  # whose dialogue file SAY belongs to
        self._speaker: str | None = None  # of the chain
        self._scene: str | None = None
        self._expected: str | None = None  # kind of the next text; None: it is a script or a name
        self._last: str | None = None  # kind of the last text, which "=" goes on with

    def said(self) -> Iterator[_Said]:
        while (token := self._next()) is not None:
            if token.kind == "word":
                self._word(token.value.upper())
            elif self._expected is not None:
                kind, self._expected = self._expected, None
                self._last = kind
                yield _Said(token, self._speaker if kind == "dialogue" else None, kind, self._scene)

    def _next(self) -> _Token | None:
        if self._at >= len(self._tokens):
            return None
        self._at += 1
        return self._tokens[self._at - 1]

    def _peek(self, ahead: int = 0) -> _Token | None:
        return self._tokens[self._at + ahead] if self._at + ahead < len(self._tokens) else None

    def _name(self) -> str | None:
        """The next name, written as a word or as a string; None at a text's place."""
        while (token := self._peek()) is not None and token.kind == "word" and token.value.upper() in _FILLERS:
            self._at += 1
        if token is None or token.kind == "ref":
            return None
        self._at += 1
        return _GAME.sub("", token.value.strip())[:60] or None

    def _condition(self) -> None:
        """Pass over IF ~script~ THEN."""
        token = self._peek()
        if token is not None and token.kind == "word" and token.value.upper() == "IF":
            self._at += 1
            self._script()

    def _script(self) -> None:
        """Pass over a script and what may follow it: a weight, THEN, BEGIN and the label of a state."""
        while (
            (token := self._peek()) is not None
            and token.kind == "word"
            and (token.value[0] == "#" or token.value.upper() == "WEIGHT")
        ):
            self._at += 1
        if token is not None and token.kind == "text":
            self._at += 1
        token = self._peek()
        if token is not None and token.kind == "word" and token.value.upper() == "THEN":
            self._at += 1
            token = self._peek()
        if token is not None and token.kind == "word" and token.value.upper() == "BEGIN":
            self._at += 1

    def _word(self, word: str) -> None:
        if word == "SAY":
            self._speaker, self._expected = self._owner, "dialogue"
        elif word == "=":
            self._expected = "dialogue" if self._last == "dialogue" else None
        elif word == "==":
            self._speaker, self._expected = self._name(), "dialogue"
            self._condition()
        elif word in ("REPLY", "++"):
            self._expected = "choice"
        elif word == "+":  # + ~condition~ + text, or + text
            first, second = self._peek(), self._peek(1)
            if first is None or first.kind == "word":  # + label, at the end of a reply
                return
            if second is not None and second.kind == "word" and second.value == "+":
                self._at += 2
            self._expected = "choice"
        elif word in _JOURNALS:
            self._expected = "journal"
        elif word in ("BEGIN", "APPEND", "APPEND_EARLY", "EXTEND_TOP", "EXTEND_BOTTOM", "REPLACE"):
            self._owner = self._scene = self._name()
            self._expected = self._last = None
        elif word in ("CHAIN", "CHAIN2", "CHAIN3"):
            self._condition()
            self._speaker = self._name()
            label = self._name()
            self._scene = " ".join(filter(None, (self._speaker, label)))
            self._expected = "dialogue"
        elif word in _INTERJECTS:
            self._scene = " ".join(filter(None, (self._name(), self._name())))
            self._name()
            self._expected = None
        elif word == "REPLACE_SAY":
            self._speaker = self._scene = self._name()
            self._name()
            self._expected = "dialogue"
        elif word in _CODE:
            self._expected = None
            self._script()
        elif word in ("END", "EXIT", "COPY_TRANS", "EXTERN", "GOTO"):
            self._expected = self._last = None

"""Fallout 1 and 2 message files (.msg), with the scripts (.ssl) and `scrname.msg` that explain them.

`{number}{sound}{text}`. A sound means a talking head says it. Otherwise a decompiled script of the same
name tells replies from options, and without one nobody is said to speak.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from modkit.persona.lines import Line
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile

_MAX_BYTES = 16 * 1024 * 1024

_ENTRY = re.compile(r"\{\s*(\d{1,9})\s*\}\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_LINE = re.compile(r"(?m)^[ \t]*\{\d{1,9}\}\{[^{}\n]*\}\{")
_SCRIPT_NAME = re.compile(r"\b(\w{2,16})\.(?:int|ssl)\b", re.IGNORECASE)
_CALL = re.compile(
    r"\b(?:(reply|gsay_reply|nmessage|gmessage|bmessage|gsay_message)|([ngb](?:low)?option|giq_option|gsay_option))"
    r"\s*\(([^()\n]{0,200})",
    re.IGNORECASE,
)
_PROCEDURE = re.compile(r"(?mi)^[ \t]*procedure[ \t]+\w+")
_SSL_CALL = re.compile(
    r"(?i)\b(?:reply|noption|goption|boption|gsay_reply|giq_option|start_gdialog|script_overrides)\b"
)
_LOOKS = range(100, 103)  # what the player sees when looking
_CYRILLIC = re.compile("[À-ÿ]")
_LATIN = re.compile("[A-Za-z]")


def _sniff(file: DumpFile) -> float:
    return 0.95 if _LINE.search(file.head) and len(_ENTRY.findall(file.head[:20_000])) >= 1 else 0.0


def _key(file: DumpFile) -> str:
    return file.path.stem.casefold()


def _cyrillic(text: str) -> str:
    """`text` as cp1251 where it was read as cp1252 and is hardly Latin: the Russian editions."""
    if len(_CYRILLIC.findall(text)) <= 2 * len(_LATIN.findall(text)):
        return text
    return text.encode("cp1252", "replace").decode("cp1251", "replace")


def _scan(file: DumpFile, join: Join) -> None:
    if _key(file) != "scrname":
        return
    names = join.table("fallout.names")
    text = _cyrillic(file.text(_MAX_BYTES))
    end = 0
    for found in _ENTRY.finditer(text):
        # Whose name it is stands in a comment, on the same line or above.
        stop = text.find("\n", found.end())
        beside = text[found.end() : stop if stop >= 0 else len(text)][:200]
        script = _SCRIPT_NAME.search(beside) or _SCRIPT_NAME.search(text[max(end, found.start() - 200) : found.start()])
        if script and found.group(3).strip():
            names.setdefault(script.group(1).casefold(), found.group(3).strip()[:200])
        end = found.end()


@reader("fallout", "Fallout message file", sniff=_sniff, extensions=(".msg",), scan=_scan)
def read_fallout(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every message but the names in `scrname.msg`."""
    if _key(file) == "scrname":
        return
    names, roles = join.table("fallout.names"), join.table(f"fallout.roles.{_key(file)}")
    name = names.get(_key(file))
    speaker = name if isinstance(name, str) else None
    text = file.text(_MAX_BYTES)
    recode = _cyrillic(text) != text
    number, at = 1, 0
    for found in _ENTRY.finditer(text):
        number, at = number + text.count("\n", at, found.start()), found.start()
        words = _cyrillic(found.group(3)) if recode else found.group(3)
        identifier = found.group(1)
        role = "reply" if found.group(2).strip() else roles.get(identifier.lstrip("0"))
        if role == "option":
            yield file.line(number, words, kind="choice", scene=file.path.stem, id=identifier)
        elif int(identifier) in _LOOKS and role is None:
            yield file.line(number, words, kind="narration", scene=file.path.stem, id=identifier)
        else:
            said_by = speaker if role == "reply" else None
            yield file.line(number, words, said_by, scene=file.path.stem, id=identifier)


def _sniff_script(file: DumpFile) -> float:
    return 0.9 if _PROCEDURE.search(file.head) and _SSL_CALL.search(file.head) else 0.0


def _scan_script(file: DumpFile, join: Join) -> None:
    roles = join.table(f"fallout.roles.{_key(file)}")
    for found in _CALL.finditer(file.text(_MAX_BYTES)):
        arguments = [part.strip() for part in found.group(3).split(",")]
        function = (found.group(1) or found.group(2)).casefold()
        # giq_option has the intelligence first, and the gsay family the name of the message file.
        after_name = {"gsay_reply": 1, "gsay_message": 1, "gsay_option": 1, "giq_option": 2}.get(function, 0)
        message = arguments[after_name] if len(arguments) > after_name else ""
        if message.isdecimal() and len(message) < 10:
            roles.setdefault(message.lstrip("0"), "reply" if found.group(1) else "option")


@reader("fallout-ssl", "Fallout script", sniff=_sniff_script, extensions=(".ssl",), scan=_scan_script)
def read_fallout_script(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Nothing: a script only says who says the messages of the file of its name."""
    return iter(())

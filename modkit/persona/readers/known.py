"""Files no reader takes, and what to say about them.

A file that is not understood is named with a reason and with the nearest thing its owner can do.
"""

from __future__ import annotations

import re

from modkit.persona.readers.source import DumpFile

__all__ = ["no_dialogue", "signature", "why_not", "why_not_text"]

_AS_TABLE = "save its lines as JSON lines or CSV with the fields speaker and text"

_BINARIES: tuple[tuple[bytes, str, str], ...] = (
    (b"RENPY RPC2", "a compiled Ren'Py script", "decompile it with unrpyc first"),
    (b"RPA-", "a Ren'Py archive", "unpack it with rpatool first"),
    (b"CR2W", "a raw Cyberpunk 2077 file", "convert it to JSON with WolvenKit first"),
    (b"PK\x03\x04", "a zip archive", "unpack it first"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (b"Rar!", "a rar archive", "unpack it first"),
    (b"TES4", "a Bethesda plugin", "export its dialogue from the Creation Kit first"),
    (b"SQLite format 3\0", "a SQLite database", _AS_TABLE),
    (b"\x89PNG", "a picture", "give the dialogue files only"),
    (b"\xff\xd8\xff", "a picture", "give the dialogue files only"),
    (b"OggS", "a sound file", "give the dialogue files only"),
    (b"RIFF", "a sound or a picture", "give the dialogue files only"),
    (b"GIF8", "a picture", "give the dialogue files only"),
    (b"ID3", "a sound file", "give the dialogue files only"),
    (b"\x1aE\xdf\xa3", "a film", "give the dialogue files only"),
    (b"\0\x01\0\0\0", "a font", "give the dialogue files only"),
    (b"OTTO\0", "a font", "give the dialogue files only"),
    (b"\x04\x08", "a Ruby marshal file", "export it to JSON with an RPG Maker tool first"),
    (b"%PDF", "a PDF", "save its text as Name: text lines"),
    (b"LSOF", "a binary Larian file", "convert it to LSX or LSJ with LSLib first"),
    (b"LSPK", "a Larian package", "unpack it with LSLib first"),
    (b"LOCA", "a binary Larian loca file", "convert it to XML with LSLib first"),
    (b"TES3", "a Morrowind plugin", "convert it to JSON with tes3conv first"),
    (b"BSA\0", "a Bethesda archive", "unpack it first"),
    (b"BTDX", "a Bethesda archive", "unpack it first"),
    (b"RTSW", "a Witcher 3 string file", "decode it to CSV with w3strings first"),
    (b"UnityFS", "a Unity bundle", "extract it with AssetRipper first"),
    (b"\xc1\x83\x2a\x9e", "an Unreal package", "export it as JSON with FModel first"),
    (b"\xde\x12\x04\x95", "a compiled gettext catalogue", "give the .po it was made from"),
    (b"DLG V1", "a compiled Infinity Engine dialogue", "decompile it with WeiDU first"),
    (b"TLK V1", "a compiled Infinity Engine string table", "export it with WeiDU first"),
    (b"DLG V3", "a compiled Aurora dialogue", "save its lines as JSON lines or CSV first"),
    (b"VCCD", "a compiled caption file", "give the closecaption .txt it was made from"),
)

_SUFFIX_HINTS = {
    ".rpyc": "decompile it with unrpyc first",
    ".rpymc": "decompile it with unrpyc first",
    ".rpa": "unpack it with rpatool first",
    ".xls": "save it as CSV first",
    ".xlsx": "save it as CSV first",
    ".ods": "save it as CSV first",
    ".docx": "save it as plain text first",
    ".odt": "save it as plain text first",
    ".articyue": "export it as JSON from articy first",
    ".strings": "export it as XML with xTranslator first",
    ".dlstrings": "export it as XML with xTranslator first",
    ".ilstrings": "export it as XML with xTranslator first",
}

# Formats with a shape of their own that a likeness would misread, such as player replies as speech.
# Every pattern of a row must be found; no pattern may backtrack over more than a line.
_TEXT_SIGNATURES: tuple[tuple[str, tuple[str, ...]], ...] = (
)
_COMPILED_SIGNATURES = tuple(
    (label, tuple(re.compile(pattern) for pattern in patterns)) for label, patterns in _TEXT_SIGNATURES
)


def why_not(file: DumpFile) -> str | None:
    """Why nothing can be read from `file` as it is: empty, or binary. None when it is worth a try."""
    if not file.raw_head.strip():
        return "is empty"
    if file.suffix in _SUFFIX_HINTS and file.raw_head.startswith(b"PK"):  # a spreadsheet, not an archive to unpack
        return f"is binary: {_SUFFIX_HINTS[file.suffix]}"
    for magic, what, hint in _BINARIES:
        if file.raw_head.startswith(magic) and (file.binary or len(magic) > 3):
            return f"is {what}: {hint}"
    if file.suffix in _SUFFIX_HINTS and file.binary:
        return f"is binary: {_SUFFIX_HINTS[file.suffix]}"
    if file.binary:
        return f"is binary, not text: {_AS_TABLE}"
    return None


def no_dialogue(file: DumpFile, reason: str) -> bool:
    """Whether a file that no reader takes is one that a game's folder has beside its dialogue, and nothing is lost."""
    if reason.endswith(": give the dialogue files only"):
        return True
    compiled = {".rpyc": ".rpy", ".rpymc": ".rpym"}.get(file.suffix)
    return compiled is not None and file.path.with_suffix(compiled).exists()


def signature(file: DumpFile) -> str | None:
    """The name of a format that is recognised and that no reader takes."""
    if "signature" not in file.memo:
        file.memo["signature"] = next(
            (
                label
                for label, patterns in _COMPILED_SIGNATURES
                if all(pattern.search(file.head) for pattern in patterns)
            ),
            None,
        )
    return file.memo["signature"]


def why_not_text(file: DumpFile) -> str:
    """What to say of a text file that no reader takes."""
    label = signature(file)
    if label:
        return f"is {label}, which no reader takes yet: {_AS_TABLE}"
    if file.suffix in _SUFFIX_HINTS:
        return f"is not what its name says: {_SUFFIX_HINTS[file.suffix]}"
    return f"is in no format known here: {_AS_TABLE}"

"""The formats of JSON Schema that a grammar can hold exactly, as patterns over the decoded string; and OpenAPI's
formats of numbers, as the least and the greatest of them."""

from __future__ import annotations

__all__ = ["FORMATS", "NUMBERS"]

_YEAR = r"(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_LEAP = r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DATE = (
    rf"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    rf"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP}-02-29)"
)
_ZONE = r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"  # no leap seconds: few parsers read them
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"

_H16 = r"[0-9A-Fa-f]{1,4}"
_LS32 = rf"(?:{_H16}:{_H16}|(?:{_OCTET}\.){{3}}{_OCTET})"
_IPV6 = "|".join(  # RFC 3986: from no group before the "::" to seven
    [
        rf"(?:{_H16}:){{6}}{_LS32}",
        rf"::(?:{_H16}:){{5}}{_LS32}",
        *(rf"(?:{_H16}(?::{_H16}){{0,{4 - n}}})?::(?:{_H16}:){{{n}}}{_LS32}" for n in range(5)),
        rf"(?:{_H16}(?::{_H16}){{0,5}})?::{_H16}",
        rf"(?:{_H16}(?::{_H16}){{0,6}})?::",
    ]
)
_ESCAPED = "%[0-9A-Fa-f]{2}"
_PATH = rf"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|{_ESCAPED})"
_HOST = rf"(?:\[(?:{_IPV6})\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|{_ESCAPED})*)"
_AUTHORITY = rf"(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|{_ESCAPED})*@)?{_HOST}(?::[0-9]*)?"
_TAIL = rf"(?:\?(?:{_PATH}|[/?])*)?(?:#(?:{_PATH}|[/?])*)?"
_PLACE = rf"//{_AUTHORITY}(?:/{_PATH}*)*|/(?:{_PATH}+(?:/{_PATH}*)*)?"
_RELATIVE = rf"(?:[A-Za-z0-9._~!$&'()*+,;=@-]|{_ESCAPED})+(?:/{_PATH}*)*"
_SCHEME = "[A-Za-z][A-Za-z0-9+.-]*:"
_URI = rf"{_SCHEME}(?:{_PLACE}|{_PATH}+(?:/{_PATH}*)*)?{_TAIL}"
_TIMES = "(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)"
_DAYS = "(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)"

FORMATS = {
    "date": _DATE,
    "time": rf"{_CLOCK}(?:\.[0-9]{{1,6}})?{_ZONE}",
    "date-time": rf"{_DATE}[Tt]{_CLOCK}(?:\.[0-9]{{1,6}})?{_ZONE}",
    "uuid": r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
    "ipv4": rf"(?:{_OCTET}\.){{3}}{_OCTET}",
    "hostname": rf"{_LABEL}(?:\.{_LABEL}){{0,3}}",
    "email": rf"{_ATEXT}(?:\.{_ATEXT}){{0,3}}@{_LABEL}(?:\.{_LABEL}){{1,3}}",
    "ipv6": _IPV6,
    "uri": _URI,
    "uri-reference": rf"{_URI}|(?:{_PLACE}|{_RELATIVE})?{_TAIL}",
    "duration": rf"P(?:[0-9]+W|{_DAYS}(?:T{_TIMES})?|T{_TIMES})",
    "json-pointer": r"(?:/(?:[^~/]|~[01])*)*",
    "byte": "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?",  # OpenAPI's base64
    "password": r"[\s\S]*",  # says how to show it, not what it is
}
NUMBERS: dict[str, tuple[int, int] | None] = {
    **{f"int{bits}": (-(1 << bits - 1), (1 << bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (0, (1 << bits) - 1) for bits in (8, 16, 32, 64)},
    "uint": (0, (1 << 64) - 1),
    "int": (-(1 << 63), (1 << 63) - 1),
    "float": None,
    "double": None,
}

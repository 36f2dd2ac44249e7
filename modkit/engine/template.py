"""From messages to prompt segments, through the model's own chat template.

Templates are Jinja programs from an untrusted file: they run in jinja2's immutable sandbox, and their
loops are bounded by the messages. What players and dumps wrote never goes through the template as text:
each content is replaced by a marker, the template is rendered, and the result is cut at the markers.
Pieces between markers are the template's own text, whose special tokens count; contents are data.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from modkit.errors import OptionError, TemplateError

if TYPE_CHECKING:
    from modkit.engine.protocol import Message

__all__ = ["CHATML", "ChatTemplate", "Prompt", "Segment", "check_messages"]

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_ALTERED = "the model's chat template alters what is said (it cuts or rewrites contents)"
ROLES = ("system", "user", "assistant", "tool")

# (what, is it the template's own): text, or token ids for a reply that is known by its tokens
Segment = tuple["str | tuple[int, ...]", bool]


class Prompt(NamedTuple):
    """A rendered conversation."""

    segments: list[Segment]
    turns: list[int]
    """the segments with which a turn (what the player says) begins; all before the first is the persona"""
    thought: tuple[str, str, bool] | None = None
    """what opens a thought and what closes it, and whether the prompt has opened one; None: this model has none"""


# What opens and closes a thought, in the templates of the families that have them.
THOUGHTS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<seed:think>", "</seed:think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
)


def check_messages(messages: Sequence[Message]) -> list[Message]:
    """The messages as a list; raises OptionError when one is not a role with a string."""
    checked = list(messages)
    for index, message in enumerate(checked):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise OptionError(f"message {index} has no role; give one of {', '.join(ROLES)}")
        if not isinstance(message.get("content"), str):
            raise OptionError(f"message {index} ({message['role']}) has no text in its content")
    if not checked:
        raise OptionError("there are no messages")
    return checked


class ChatTemplate:
    """One model's template, compiled at first use (some ms: engines do it off the frame)."""

    def __init__(self, source: str | None, bos: str = "", eos: str = "") -> None:
        self.source = source or CHATML
        self.bos = bos
        self.eos = eos
        self._compiled: Any = None
        found = [marks for marks in THOUGHTS if marks[0] in self.source or marks[1] in self.source]
        self.thought: tuple[str, str] | None = found[0] if found else None
        self.switches = "enable_thinking" in self.source
        """whether it asks `thinking=`"""

    @property
    def tool_format(self) -> str:
        """ "tool_call" when the template takes tools and has calls between <tool_call> and </tool_call>, else ""."""
        return "tool_call" if "<tool_call>" in self.source and "tools" in self.source else ""

    def compile(self) -> None:
        """Raises TemplateError when the template is not valid Jinja."""
        if self._compiled is not None:
            return
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = _no_clock
        try:
            self._compiled = environment.from_string(self.source)
        except (jinja2.TemplateError, RecursionError) as error:
            raise TemplateError(f"the model's chat template is broken: {error}") from None

    def render(self, messages: Sequence[Message]) -> list[Segment]:
        """The segments of prompt()."""
        return self.prompt(messages).segments

    def prompt(self, messages: Sequence[Message], thinking: bool | None = None) -> Prompt:
        """The whole prompt, up to where the assistant speaks. thinking: the template's own switch (None: its default).

        Raises OptionError for bad messages, TemplateError when the template refuses or breaks them.
        """
        import jinja2

        checked = check_messages(messages)
        self.compile()
        # a marker no one can have written: fresh random bits for every prompt
        key = f"k{os.urandom(8).hex()}"  # a letter, so that a template that changes case is found out
        marked = [{"role": m["role"], "content": f"\ue000{key}:{i}\ue001"} for i, m in enumerate(checked)]
        try:
            given = {"bos_token": self.bos, "eos_token": self.eos, "tools": checked[0].get("tools") or None}
            switch = {} if thinking is None else {"enable_thinking": thinking, "thinking": thinking}
            text = self._compiled.render(messages=marked, add_generation_prompt=True, **given, **switch)
        except _Refused as refusal:
            raise TemplateError(f"the model's chat template refuses this conversation: {refusal}") from None
        except (
            jinja2.TemplateError,
            TypeError,
            ValueError,
            KeyError,
            IndexError,
            AttributeError,
            ArithmeticError,
            RecursionError,
            MemoryError,
        ) as error:
            raise TemplateError(f"the model's chat template failed: {error}") from None
        made = _cut(text, key, checked)
        if self.thought is None:
            return made
        opens, closes = self.thought
        end = made.segments[-1][0] if made.segments and made.segments[-1][1] else ""
        opened = isinstance(end, str) and end.rfind(opens) > end.rfind(closes)
        return made._replace(thought=(opens, closes, opened))


class _Refused(Exception):
    """raise_exception() inside a template."""


def _raise(message: object) -> None:
    raise _Refused(str(message))


def _no_clock(format: str) -> str:
    """Templates may ask for today's date; a game's prompt must not depend on it, or caches never hit."""
    return ""


def _cut(text: str, key: str, messages: Sequence[Message]) -> Prompt:
    segments: list[Segment] = []
    turns: list[int] = []
    for index, part in enumerate(text.split(f"\ue000{key}:")):
        number, mark, rest = part.partition("\ue001") if index else ("", "", part)
        if index:
            if not mark or not number.isdigit() or int(number) >= len(messages):
                raise TemplateError(_ALTERED)
            message = messages[int(number)]
            tokens = message.get("tokens")
            content: str | tuple[int, ...] = tokens if tokens and message["role"] == "assistant" else message["content"]
            if content and message["role"] == "user":
                turns.append(len(segments))
            if content:
                segments.append((content, False))
        if "\ue000" in rest:
            raise TemplateError(_ALTERED)
        if rest:
            segments.append((rest, True))
    if f"\ue000{key}:{len(messages) - 1}\ue001" not in text:
        raise TemplateError("the model's chat template leaves out the last message")
    return Prompt(segments, turns)

"""Sable's vocabulary: a byte-level BPE that llama.cpp reads as ``tokenizer.ggml.pre = "gpt-2"``.

The two ChatML marks are control tokens. Text is always encoded in the pieces in which the runtime encodes it
(template text, then a message, then template text again), so the model never sees a token that play cannot produce.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

START, END = "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def train(texts: Iterable[str], size: int) -> Tokenizer:
    """A tokenizer of ``size`` entries. The two control tokens come first, then the 256 bytes, then the merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def mark(tokenizer: Tokenizer, text: str) -> int:
    """The id of a control token, which every vocabulary trained here has."""
    token = tokenizer.token_to_id(text)
    if token is None:
        raise ValueError(f"the vocabulary lacks {text}")
    return int(token)


class Codec:
    """Encodes messages for training. Control tokens are placed by id and never parsed out of text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.tokenizer.encode_special_tokens = True
        self.start = mark(tokenizer, START)
        self.end = mark(tokenizer, END)
        self.encode = lru_cache(maxsize=1 << 16)(self._encode)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text).ids)

    def decode(self, tokens: Iterable[int]) -> str:
        return str(self.tokenizer.decode(list(tokens)))

    def message(self, role: str, content: str) -> tuple[list[int], list[bool]]:
        """The tokens of one message and, for each, whether it is part of a reply and so worth learning."""
        head = [self.start, *self.encode(role + "\n")]
        body = [*self.encode(content), self.end]
        tail = list(self.encode("\n"))
        reply = role == "assistant"
        return head + body + tail, [False] * len(head) + [reply] * len(body) + [False] * len(tail)

    def prompt(self, messages: Iterable[tuple[str, str]]) -> list[int]:
        """The tokens of a conversation, up to where the next reply begins."""
        tokens: list[int] = []
        for role, content in messages:
            tokens += self.message(role, content)[0]
        return [*tokens, self.start, *self.encode("assistant\n")]


def load(path: Path) -> Tokenizer:
    """The tokenizer saved at ``path``."""
    return Tokenizer.from_file(str(path))

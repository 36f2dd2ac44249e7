"""The network: a llama in plain PyTorch, laid out the way llama.cpp reads arch "llama".

RoPE rotates *adjacent* pairs (llama.cpp's NORM layout), so the weights go into the GGUF as they are: the
permutation that converters of Hugging Face models need has nothing to undo here.

The start matters more than anything else at this size. Blocks trained with Muon soon write vectors of length one and
more into the residual stream, so embeddings start as large as that; small ones drown, and then the model learns to
speak but not to listen. The output matrix starts as the embeddings, scaled down, so that copying a token is easy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """Sizes of the network. ``context`` is in tokens; ``hidden`` is the width of the SwiGLU."""

    vocab: int = 4096
    width: int = 256
    layers: int = 6
    heads: int = 4
    hidden: int = 768
    context: int = 1024
    rope_base: float = 10000.0
    norm_eps: float = 1e-5


class Norm(nn.Module):
    """RMSNorm, computed in float32 as llama.cpp does."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        scaled: Tensor = wide * self.weight
        return scaled.to(x.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each adjacent pair of ``x`` (batch, heads, time, head width) by its position's angle."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class Block(nn.Module):
    """Attention and SwiGLU, each behind a norm and a residual."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.attn_norm = Norm(shape.width, shape.norm_eps)
        self.attn_q = nn.Linear(shape.width, shape.width, bias=False)
        self.attn_k = nn.Linear(shape.width, shape.width, bias=False)
        self.attn_v = nn.Linear(shape.width, shape.width, bias=False)
        self.attn_output = nn.Linear(shape.width, shape.width, bias=False)
        self.ffn_norm = Norm(shape.width, shape.norm_eps)
        self.ffn_gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.ffn_up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.ffn_down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, time, width = x.shape
        h = self.attn_norm(x)

        def heads(y: Tensor) -> Tensor:
            return y.view(batch, time, self.heads, -1).transpose(1, 2)

        q, k = rotate(heads(self.attn_q(h)), cos, sin), rotate(heads(self.attn_k(h)), cos, sin)
        y = F.scaled_dot_product_attention(q, k, heads(self.attn_v(h)), is_causal=True)
        x = x + self.attn_output(y.transpose(1, 2).reshape(batch, time, width))
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))  # type: ignore[no-any-return]


class Llama(nn.Module):
    """Token ids (batch, time) in, final hidden states (batch, time, width) out; ``logits`` finishes the job."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocab, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape.width, shape.norm_eps)
        self.output = nn.Linear(shape.width, shape.vocab, bias=False)
        half = shape.width // shape.heads // 2
        angle = torch.outer(
            torch.arange(shape.context).float(), shape.rope_base ** (-torch.arange(half).float() / half)
        )
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        self.apply(self._init)
        with torch.no_grad():
            nn.init.normal_(self.token_embd.weight, std=0.5)
            self.output.weight.copy_(0.04 * self.token_embd.weight)
        for block in self.blk:  # residual branches start small: depth must not raise the variance
            for out in (block.attn_output, block.ffn_down):
                nn.init.normal_(out.weight, std=0.02 / (2 * shape.layers) ** 0.5)  # type: ignore[arg-type, union-attr]

    @staticmethod
    def _init(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        time = tokens.shape[1]
        x = self.token_embd(tokens)
        if torch.is_autocast_enabled("cpu"):
            x = x.to(torch.get_autocast_dtype("cpu"))
        cos, sin = self.cos[:time].to(x.dtype), self.sin[:time].to(x.dtype)
        for block in self.blk:
            x = block(x, cos, sin)
        return self.output_norm(x)  # type: ignore[no-any-return]

    def logits(self, hidden: Tensor) -> Tensor:
        return self.output(hidden)  # type: ignore[no-any-return]

    def count(self) -> int:
        """How many weights there are."""
        return sum(p.numel() for p in self.parameters())


@torch.no_grad()
def greedy(model: Llama, tokens: list[int], end: int, limit: int = 80) -> list[int]:
    """The most likely continuation of ``tokens``, without ``end``. No cache: it is here to check the export."""
    model.eval()
    out: list[int] = []
    while len(out) < limit:
        hidden = model(torch.tensor([tokens + out]))
        token = int(model.logits(hidden[:, -1]).argmax())
        if token == end:
            break
        out.append(token)
    return out

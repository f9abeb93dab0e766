"""Building blocks the four transformers share, with the parameter names of the official checkpoints.

Shapes: B batch, N tokens, D width, K heads, H head width, h and w token grid height and width, p patch, C channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FREQUENCIES = 256  # width of the sinusoidal time embedding, whatever the network's width
THETA = 10000.0


def sincos_position_embedding(width: int, grid: int) -> Tensor:
    """Fixed 2-D sine-cosine table (1, grid * grid, width), float32: first half the column, second half the row."""
    if torch.get_default_device().type == "meta":  # the shape is all there is, and is known without torch's compiler
        return torch.empty(1, grid * grid, width)
    omega = THETA ** (-torch.arange(width // 4, dtype=torch.float64) / (width / 4.0))
    angle = torch.arange(grid, dtype=torch.float64)[:, None] * omega  # (grid, D/4)
    axis = torch.cat([angle.sin(), angle.cos()], dim=1)  # (grid, D/2)
    column = axis[None, :, :].expand(grid, grid, -1)
    row = axis[:, None, :].expand(grid, grid, -1)
    return torch.cat([column, row], dim=2).reshape(1, grid * grid, width).float()


def rotary_table(head_width: int, grid: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (grid * grid, head_width) of the 2-D rotary embedding: first half the row, second the column.

    Neighbouring entries (2i, 2i + 1) form one rotated pair and share a frequency.
    """
    if torch.get_default_device().type == "meta":  # likewise
        return torch.empty(grid * grid, head_width), torch.empty(grid * grid, head_width)
    axis_width = head_width // 2
    exponent = torch.arange(0, axis_width, 2).float() / axis_width
    angle = torch.arange(grid).float()[:, None] * (1.0 / THETA**exponent)  # (grid, H/4)
    angle = angle.repeat_interleave(2, dim=1)  # (grid, H/2)
    row = angle[:, None, :].expand(grid, grid, -1)
    column = angle[None, :, :].expand(grid, grid, -1)
    both = torch.cat([row, column], dim=2).reshape(grid * grid, head_width)
    return both.cos(), both.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs of x (B, K, N, H) by the angles of `rotary_table` (N, H)."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    return x * cos + torch.stack([-odd, even], dim=-1).flatten(-2) * sin


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Adaptive norm: x (B, N, D) times 1 + scale plus shift; both (B, 1, D) or one per token (B, N, D)."""
    return x * (1 + scale) + shift


def unpatchify(tokens: Tensor, patch: int, channels: int) -> Tensor:
    """Tokens (B, N, p * p * C), channel fastest, on a square row-major grid -> (B, C, h * p, w * p)."""
    grid = math.isqrt(tokens.shape[1])
    x = tokens.unflatten(2, (patch, patch, channels)).unflatten(1, (grid, grid))  # (B, h, w, p, p, C)
    return x.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


class RMSNorm(nn.Module):
    """x / rms(x) in float32, times a learned weight, cast back."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        x32 = x.float()
        normed = x32 * torch.rsqrt(x32.square().mean(-1, keepdim=True) + self.eps)
        return (normed * self.weight).to(x.dtype)


def plain_layer_norm(width: int) -> nn.LayerNorm:
    """LayerNorm without affine parameters, eps 1e-6: adaLN supplies scale and shift."""
    return nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)


class PatchEmbed(nn.Module):
    """Non-overlapping p x p patches (B, C, H, W) -> tokens (B, N, D), row-major."""

    def __init__(self, patch: int, channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class TimestepEmbedder(nn.Module):
    """t (B,) in [0, 1] -> (B, D): cosines then sines of 128 geometric frequencies, then a two-layer MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        half = FREQUENCIES // 2
        k = torch.arange(half, dtype=torch.float32, device=t.device)
        angle = t[:, None].float() * torch.exp(-math.log(THETA) * k / half)
        return self.mlp(torch.cat([angle.cos(), angle.sin()], dim=-1).to(t.dtype))


class LabelEmbedder(nn.Module):
    """Class label -> (B, D); the last row, index num_classes, means "no label".

    Replacing labels by the null label during training is the trainer's work, so that the network stays a function.
    """

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(rows, width)

    def forward(self, y: Tensor) -> Tensor:
        return self.embedding_table(y)


class Mlp(nn.Module):
    """Linear, tanh-approximated GELU, Linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class SwiGLU(nn.Module):
    """w3(silu(a) * b) with (a, b) = w12(x)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(width, 2 * hidden)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(a) * b)


class Attention(nn.Module):
    """Multi-head self-attention; queries and keys optionally normalised per head, then optionally rotated."""

    def __init__(self, width: int, heads: int, qk_norm: type[nn.Module] | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        if qk_norm is not None:
            self.q_norm = qk_norm(width // heads)
            self.k_norm = qk_norm(width // heads)
        self.normed = qk_norm is not None

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor] | None = None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, K, N, H)
        if self.normed:
            q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = rotate(q, *rope).to(v.dtype), rotate(k, *rope).to(v.dtype)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class AdaLNBlock(nn.Module):
    """Transformer block whose norms and gates are set by the condition c (DiT's adaLN-Zero)."""

    def __init__(self, norm1: nn.Module, attn: Attention, norm2: nn.Module, mlp: nn.Module) -> None:
        super().__init__()
        width = attn.proj.out_features
        self.norm1, self.attn, self.norm2, self.mlp = norm1, attn, norm2, mlp
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, c: Tensor, rope: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """x (B, N, D), c (B, 1, D) or one condition per token (B, N, D) -> (B, N, D)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(c).chunk(6, dim=-1)
        x = x + gate1 * self.attn(modulate(self.norm1(x), shift1, scale1), rope)
        return x + gate2 * self.mlp(modulate(self.norm2(x), shift2, scale2))


class FinalLayer(nn.Module):
    """Adaptive norm and the projection of each token to its patch of outputs."""

    def __init__(self, norm: nn.Module, width: int, out: int) -> None:
        super().__init__()
        self.norm_final = norm
        self.linear = nn.Linear(width, out)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(c).chunk(2, dim=-1)
        return self.linear(modulate(self.norm_final(x), shift, scale))


def initialise(net: nn.Module) -> None:
    """The official initialisation: Xavier for linear layers and patch convolutions, N(0, 0.02^2) for the time and
    label embeddings, zero for everything that modulates or produces the output, so an untrained network returns 0.
    """
    if torch.get_default_device().type == "meta":  # nothing to draw: half of the time of building a network there
        return
    for module in net.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in net.modules():
        if isinstance(module, LabelEmbedder):
            nn.init.normal_(module.embedding_table.weight, std=0.02)
        elif isinstance(module, TimestepEmbedder):
            for linear in linears(module.mlp):
                nn.init.normal_(linear.weight, std=0.02)
        elif isinstance(module, (AdaLNBlock, FinalLayer)):
            zeroed = linears(module.adaLN_modulation)
            for linear in [*zeroed, module.linear] if isinstance(module, FinalLayer) else zeroed:
                nn.init.zeros_(linear.weight)
                nn.init.zeros_(linear.bias)


def linears(sequence: nn.Sequential) -> list[nn.Linear]:
    """The linear layers of a sequence."""
    return [layer for layer in sequence if isinstance(layer, nn.Linear)]

"""The four transformers once more, in float64 numpy from their equations: an opinion that shares no code with ours.

`w` is an official state dict of arrays, `a` the official constructor's arguments. Shapes: B batch, N tokens, D width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = Mapping[str, Array]


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def linear(x: Array, w: Weights, name: str) -> Array:
    return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", np.zeros(1))


def layer_norm(x: Array, eps: float) -> Array:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)


def rms_norm(x: Array, weight: Array) -> Array:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * weight


def normed(x: Array, w: Weights, name: str) -> Array:
    """RMSNorm where a weight is stored, LayerNorm without affine where none is."""
    return rms_norm(x, w[f"{name}.weight"]) if f"{name}.weight" in w else layer_norm(x, 1e-6)


def head_normed(x: Array, w: Weights, name: str) -> Array:
    """Of queries and keys: nothing stored is no norm, weight and bias are LayerNorm's, a weight alone is RMSNorm's."""
    if f"{name}.weight" not in w:
        return x
    if f"{name}.bias" in w:
        return layer_norm(x, 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]
    return rms_norm(x, w[f"{name}.weight"])


def patches(x: Array, kernel: Array, bias: Array | None) -> Array:
    """Patch convolution, patch by patch: images (B, C, H, W), kernel (D, C, p, p) -> (B, N, D)."""
    p = kernel.shape[-1]
    rows = []
    for i in range(0, x.shape[2], p):
        for j in range(0, x.shape[3], p):
            rows.append(np.einsum("bchw,dchw->bd", x[:, :, i : i + p, j : j + p], kernel))
    tokens = np.stack(rows, axis=1)
    return tokens if bias is None else tokens + bias


def images(tokens: Array, p: int) -> Array:
    """Tokens (B, N, p * p * C), channel fastest -> (B, C, H, W), placed patch by patch."""
    batch, count, width = tokens.shape
    side, channels = math.isqrt(count), width // p**2
    out = np.zeros((batch, channels, side * p, side * p))
    for n in range(count):
        row, column = divmod(n, side)
        patch = tokens[:, n].reshape(batch, p, p, channels).transpose(0, 3, 1, 2)
        out[:, :, row * p : (row + 1) * p, column * p : (column + 1) * p] = patch
    return out


def rotation(position: tuple[int, int], head: int) -> Array:
    """The orthogonal matrix (head, head) that one token's queries and keys are turned by: half row, half column."""
    axis = head // 2
    turn = np.zeros((head, head))
    for half, index in enumerate(position):
        for k in range(axis // 2):
            angle = index * 10000.0 ** (-2 * k / axis)
            at = half * axis + 2 * k
            c, s = math.cos(angle), math.sin(angle)
            turn[at : at + 2, at : at + 2] = [[c, -s], [s, c]]
    return turn


def attention(x: Array, w: Weights, name: str, heads: int, turns: list[Array] | None = None) -> Array:
    count, width = x.shape[1:]
    head = width // heads
    qkv = linear(x, w, f"{name}.qkv")
    out = np.zeros_like(x)
    for h in range(heads):
        q, k, v = (qkv[..., part * width + h * head : part * width + (h + 1) * head] for part in range(3))
        q, k = head_normed(q, w, f"{name}.q_norm"), head_normed(k, w, f"{name}.k_norm")
        if turns is not None:
            q, k = (np.stack([z[:, n] @ turns[n].T for n in range(count)], axis=1) for z in (q, k))
        logits = q @ k.transpose(0, 2, 1) / math.sqrt(head)
        weight = np.exp(logits - logits.max(-1, keepdims=True))
        out[..., h * head : (h + 1) * head] = weight / weight.sum(-1, keepdims=True) @ v
    return linear(out, w, f"{name}.proj")


def feed_forward(x: Array, w: Weights, name: str) -> Array:
    if f"{name}.w12.weight" in w:
        a, b = np.split(linear(x, w, f"{name}.w12"), 2, axis=-1)
        return linear(silu(a) * b, w, f"{name}.w3")
    return linear(gelu_tanh(linear(x, w, f"{name}.fc1")), w, f"{name}.fc2")


def block(x: Array, c: Array, w: Weights, name: str, heads: int, turns: list[Array] | None = None) -> Array:
    """x (B, N, D); c (B, 1, D) or (B, N, D)."""
    parts = np.split(linear(silu(c), w, f"{name}.adaLN_modulation.1"), 6, axis=-1)
    shift1, scale1, gate1, shift2, scale2, gate2 = parts
    h = normed(x, w, f"{name}.norm1") * (1 + scale1) + shift1
    x = x + gate1 * attention(h, w, f"{name}.attn", heads, turns)
    return x + gate2 * feed_forward(normed(x, w, f"{name}.norm2") * (1 + scale2) + shift2, w, f"{name}.mlp")


def final(x: Array, c: Array, w: Weights) -> Array:
    shift, scale = np.split(linear(silu(c), w, "final_layer.adaLN_modulation.1"), 2, axis=-1)
    return linear(normed(x, w, "final_layer.norm_final") * (1 + scale) + shift, w, "final_layer.linear")


def sinusoidal(t: Array, w: Weights) -> Array:
    angle = t[:, None] * np.exp(-math.log(10000) * np.arange(128) / 128)
    h = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    return linear(silu(linear(h, w, "t_embedder.mlp.0")), w, "t_embedder.mlp.2")


def grid_turns(side: int, head: int, first: int = 0) -> list[Array]:
    """`first` unturned tokens, then one turn per place of the grid, row by row."""
    return [np.eye(head)] * first + [rotation((i, j), head) for i in range(side) for j in range(side)]


def sit(w: Weights, a: Mapping[str, Any], x: Array, t: Array, y: NDArray[np.int64]) -> Array:
    """SiT and REPA."""
    c = (sinusoidal(t, w) + w["y_embedder.embedding_table.weight"][y])[:, None]
    tokens = patches(x, w["x_embedder.proj.weight"], w["x_embedder.proj.bias"]) + w["pos_embed"]
    for k in range(a["depth"]):
        tokens = block(tokens, c, w, f"blocks.{k}", a["num_heads"])
    return images(final(tokens, c, w), a["patch_size"])[:, : a["in_channels"]]


def projections(w: Weights, a: Mapping[str, Any], x: Array, t: Array, y: NDArray[np.int64]) -> list[Array]:
    """REPA's, one per encoder."""
    c = (sinusoidal(t, w) + w["y_embedder.embedding_table.weight"][y])[:, None]
    tokens = patches(x, w["x_embedder.proj.weight"], w["x_embedder.proj.bias"]) + w["pos_embed"]
    for k in range(a["encoder_depth"]):
        tokens = block(tokens, c, w, f"blocks.{k}", a["num_heads"])
    found = []
    for e in range(len(a["z_dims"])):
        h = silu(linear(tokens, w, f"projectors.{e}.0"))
        found.append(linear(silu(linear(h, w, f"projectors.{e}.2")), w, f"projectors.{e}.4"))
    return found


def jit(w: Weights, a: Mapping[str, Any], x: Array, t: Array, y: NDArray[np.int64]) -> Array:
    label = w["y_embedder.embedding_table.weight"][y]
    c = (sinusoidal(t, w) + label)[:, None]
    squeezed = patches(x, w["x_embedder.proj1.weight"], None)
    tokens = squeezed @ w["x_embedder.proj2.weight"][..., 0, 0].T + w["x_embedder.proj2.bias"] + w["pos_embed"]
    side, head, extra = math.isqrt(tokens.shape[1]), a["hidden_size"] // a["num_heads"], 0
    for k in range(a["depth"]):
        if k == a["in_context_start"] and a["in_context_len"]:
            extra = a["in_context_len"]
            tokens = np.concatenate([label[:, None] + w["in_context_posemb"], tokens], axis=1)
        tokens = block(tokens, c, w, f"blocks.{k}", a["num_heads"], grid_turns(side, head, extra))
    return images(final(tokens[:, extra:], c, w), a["patch_size"])


def ditdh(w: Weights, a: Mapping[str, Any], x: Array, t: Array, y: NDArray[np.int64]) -> Array:
    angle = 2 * math.pi * t[:, None] * w["t_embedder.W"]
    h = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    time = linear(silu(linear(h, w, "t_embedder.mlp.0")), w, "t_embedder.mlp.2")[:, None]
    c = silu(time + w["y_embedder.embedding_table.weight"][y][:, None])
    s = patches(x, w["s_embedder.proj.weight"], w["s_embedder.proj.bias"]) + w.get("pos_embed", np.zeros(1))
    tokens = patches(x, w["x_embedder.proj.weight"], w["x_embedder.proj.bias"])
    turns = [grid_turns(a["input_size"], d // k) for d, k in zip(a["hidden_size"], a["num_heads"], strict=True)]
    for k in range(a["depth"][0]):
        s = block(s, c, w, f"blocks.{k}", a["num_heads"][0], turns[0])
    s = silu(time + s)
    if "s_projector.weight" in w:
        s = linear(s, w, "s_projector")
    for k in range(a["depth"][0], sum(a["depth"])):
        tokens = block(tokens, s, w, f"blocks.{k}", a["num_heads"][1], turns[1])
    return images(final(tokens, s, w), 1)


NETWORKS: dict[str, Callable[..., Array]] = {"sit": sit, "repa": sit, "jit": jit, "rae": ditdh}

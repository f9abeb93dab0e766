"""RAE stage 1 (Zheng et al., arXiv 2510.11690): frozen DINOv2 tokens as latents, and a ViT-MAE-style decoder of them.

Shapes: B batch, C token width, H and W token grid, N = H * W tokens, D decoder width, K heads, p decoder patch,
H' and W' image height and width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drlbench.backbones.autoencoders import SLICE, sliced
from drlbench.backbones.keys import FINGERPRINTS
from drlbench.backbones.layers import sincos_position_embedding, unpatchify
from drlbench.backbones.rae.published import DECODER_FINGERPRINT
from drlbench.errors import UserError
from drlbench.weights.copies import choose
from drlbench.weights.strict import load_strict

DECODER_EPS = 1e-12  # of every LayerNorm of the decoder
DINOV2_BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "mlp_ratio": 4,
    "image_size": 518,
    "patch_size": 14,
    "num_register_tokens": 4,
    "layer_norm_eps": 1e-6,
}
# What transformers 5 calls the attention weights in memory, and what the files call them.
RENAMED = {
    "q_proj": "attention.query",
    "k_proj": "attention.key",
    "v_proj": "attention.value",
    "o_proj": "output.dense",
}
# The decoder the paper releases (ViT-XL); "b" and "l" are its smaller siblings.
DECODERS = {  # width, MLP width, heads, layers
    "b": (768, 3072, 12, 12),
    "l": (1024, 4096, 16, 24),
    "xl": (1152, 4096, 16, 28),
}


class _Dense(nn.Module):
    """A linear layer under the name `dense`."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(x)


class _SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = _SelfAttention(width, heads)
        self.output = _Dense(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.attention(x))


class _Layer(nn.Module):
    """Pre-norm transformer layer with exact GELU; parameter names are ViT-MAE's."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.layernorm_before = nn.LayerNorm(width, eps=DECODER_EPS)
        self.attention = _Attention(width, heads)
        self.layernorm_after = nn.LayerNorm(width, eps=DECODER_EPS)
        self.intermediate = _Dense(width, hidden)
        self.output = _Dense(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.layernorm_before(x))
        return x + self.output(F.gelu(self.intermediate(self.layernorm_after(x))))


class Decoder(nn.Module):
    """Tokens (B, N, C) -> images (B, 3, H p, W p), normalised by the encoder's image mean and standard deviation.

    Tokens of another grid than the decoder's H x W are resized to it bilinearly, as in the official code.
    """

    def __init__(
        self, token_width: int, grid: int, patch: int, width: int, hidden: int, heads: int, layers: int
    ) -> None:
        super().__init__()
        if width % heads:
            raise UserError(
                f"rae-autoencoder: decoder_hidden_size {width} is not a multiple of {heads} attention heads"
            )
        self.patch, self.grid = patch, grid
        self.decoder_embed = nn.Linear(token_width, width)
        self.trainable_cls_token = nn.Parameter(torch.zeros(1, 1, width))
        table = torch.cat([torch.zeros(1, 1, width), sincos_position_embedding(width, grid)], dim=1)
        self.decoder_pos_embed = nn.Parameter(table, requires_grad=False)
        self.decoder_layers = nn.ModuleList(_Layer(width, heads, hidden) for _ in range(layers))
        self.decoder_norm = nn.LayerNorm(width, eps=DECODER_EPS)
        self.decoder_pred = nn.Linear(width, patch**2 * 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self._resized(self.decoder_embed(tokens))
        x = torch.cat([self.trainable_cls_token.expand(len(x), -1, -1), x], dim=1) + self.decoder_pos_embed
        for layer in self.decoder_layers:
            x = layer(x)
        return unpatchify(self.decoder_pred(self.decoder_norm(x))[:, 1:], self.patch, 3)

    def _resized(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D) of another square grid, bilinearly on the decoder's own."""
        side = math.isqrt(x.shape[1])
        if side == self.grid:
            return x
        if side**2 != x.shape[1]:
            raise UserError(f"rae-autoencoder: {x.shape[1]} tokens are no square grid")
        size = (self.grid, self.grid)
        image = F.interpolate(x.mT.unflatten(2, (side, side)), size=size, mode="bilinear", align_corners=False)
        return image.flatten(2).mT


class RAEAutoencoder(nn.Module):
    """Encoder, latent statistics and decoder.

    Args:
        encoder_args: arguments of transformers' Dinov2WithRegistersConfig; default DINOv2 base.
        encoder_input_size: images are resized to this (224 for 256-pixel images, 448 for 512).
        decoder_args: `decoder_hidden_size`, `decoder_intermediate_size`, `decoder_num_attention_heads`,
            `decoder_num_hidden_layers`; default the released ViT-XL.
        decoder_patch_size: image pixels per token and axis.
        image_mean, image_std: per colour, the encoder's normalisation.
        eps: added to the latent variance.
        latent_mean, latent_var: (C, H, W) statistics of the latents; None leaves them as they are.
    """

    image_mean: Tensor
    image_std: Tensor
    latent_mean: Tensor
    latent_std: Tensor

    def __init__(
        self,
        encoder_args: Mapping[str, Any] | None = None,
        encoder_input_size: int = 224,
        decoder_args: Mapping[str, Any] | None = None,
        decoder_patch_size: int = 16,
        image_mean: Sequence[float] = (0.485, 0.456, 0.406),
        image_std: Sequence[float] = (0.229, 0.224, 0.225),
        eps: float = 1e-5,
        latent_mean: Tensor | None = None,
        latent_var: Tensor | None = None,
    ) -> None:
        super().__init__()
        from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

        config: Any = Dinov2WithRegistersConfig(**(DINOV2_BASE if encoder_args is None else encoder_args))
        patch = int(config.patch_size)
        if encoder_input_size % patch:
            raise UserError(
                f"rae-autoencoder: encoder_input_size {encoder_input_size} is not a multiple of "
                f"the encoder's patch_size {patch}"
            )
        self.encoder = Dinov2WithRegistersModel(config)
        # The released latents are the final norm's output WITHOUT its affine map.
        self.encoder.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps, elementwise_affine=False)
        self.extra_tokens = 1 + config.num_register_tokens
        self.encoder_input_size, self.eps, self.slice_size = encoder_input_size, eps, SLICE
        grid = encoder_input_size // patch
        self.latent_shape = (config.hidden_size, grid, grid)
        decoder = dict(decoder_args) if decoder_args is not None else decoder_arguments("xl")
        self.decoder = Decoder(
            config.hidden_size,
            grid,
            decoder_patch_size,
            decoder["decoder_hidden_size"],
            decoder["decoder_intermediate_size"],
            decoder["decoder_num_attention_heads"],
            decoder["decoder_num_hidden_layers"],
        )
        self.register_buffer("image_mean", torch.tensor(list(image_mean)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("image_std", torch.tensor(list(image_std)).view(1, 3, 1, 1), persistent=False)
        # One number for all, so that without statistics latents of any grid can be decoded.
        self.register_buffer("latent_mean", torch.zeros(1, 1, 1), persistent=False)
        self.register_buffer("latent_std", torch.ones(1, 1, 1), persistent=False)
        if latent_mean is not None or latent_var is not None:
            self.set_latent_statistics(latent_mean, latent_var)
        self.eval().requires_grad_(False)

    def set_latent_statistics(self, mean: Tensor | None, var: Tensor | None) -> None:
        """Mean and variance (C, H, W) of the latents, as in the official stat.pt; None is 0 and 1.

        Dimensions of 1 stand for the whole axis: (C, 1, 1) are statistics per channel, (1, C, H, W) is (C, H, W).

        Raises:
            UserError: another shape, or values that are not finite or a negative variance.
        """
        for name, value in (("mean", mean), ("var", var)):
            if value is None:
                continue
            shape, leading = value.shape[-3:], value.shape[:-3].numel()
            fits = len(shape) == 3 and all(n in (1, full) for n, full in zip(shape, self.latent_shape, strict=True))
            if not fits or leading != 1:
                raise UserError(f"rae-autoencoder: latent {name} is {list(value.shape)}, not {list(self.latent_shape)}")
            if not torch.isfinite(value).all() or (name == "var" and (value < 0).any()):
                raise UserError(f"rae-autoencoder: latent {name} holds NaN, infinity or a negative variance")
        if mean is not None:
            self.latent_mean = mean.detach().reshape(mean.shape[-3:]).to(self.latent_mean)
        if var is not None:
            self.latent_std = (var.detach().reshape(var.shape[-3:]).to(self.latent_std) + self.eps).sqrt()

    def encode(self, images: Tensor) -> Tensor:
        """Normalised latents (B, C, H, W) of images (B, 3, H', W') in [0, 1] of any size."""
        return sliced(self._encode, images, self.slice_size)

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H p, W p), nominally in [0, 1] and not clamped, of latents (B, C, H, W)."""
        return sliced(self._decode, latents, self.slice_size)

    def tokens(self, images: Tensor) -> Tensor:
        """Encoder tokens (B, N, C) of images in [0, 1]; class and register tokens dropped."""
        size = (self.encoder_input_size, self.encoder_input_size)
        if images.shape[-2:] != size:
            images = F.interpolate(images, size=size, mode="bicubic", align_corners=False)
        hidden = self.encoder((images - self.image_mean) / self.image_std).last_hidden_state
        return hidden[:, self.extra_tokens :]

    def _encode(self, images: Tensor) -> Tensor:
        latents = self.tokens(images).transpose(1, 2).unflatten(2, self.latent_shape[1:])
        return (latents - self.latent_mean) / self.latent_std

    def _decode(self, latents: Tensor) -> Tensor:
        tokens = (latents * self.latent_std + self.latent_mean).flatten(2).transpose(1, 2)
        return self.decoder(tokens) * self.image_std + self.image_mean

    def load_official_state_dict(
        self, encoder: Mapping[str, Any] | None = None, decoder: Mapping[str, Any] | None = None
    ) -> None:
        """Load the encoder (Hugging Face on-disk names) and the decoder (the official model.pt), each if given.

        Raises:
            UserError: a key is missing, unexpected or mis-shaped, or a weight is not finite.
        """
        if encoder is not None:
            weights = choose(encoder, None, "rae-autoencoder encoder").state
            for affine in ("layernorm.weight", "layernorm.bias"):
                weights.pop(affine, None)
            load_strict(self.encoder, weights, "rae-autoencoder encoder", on_disk_name, marks=FINGERPRINTS)
        if decoder is not None:
            weights = choose(decoder, None, "rae-autoencoder decoder", (DECODER_FINGERPRINT,)).state
            load_strict(self.decoder, weights, "rae-autoencoder decoder", marks=FINGERPRINTS)


def on_disk_name(key: str) -> str:
    """The name in the file of an encoder weight, whatever this version of transformers calls it in memory."""
    for projection, official in RENAMED.items():
        key = key.replace(f".attention.{projection}.", f".attention.{official}.")
    return key


def decoder_arguments(size: str) -> dict[str, int]:
    """`decoder_args` of a named decoder size, "b", "l" or "xl"."""
    width, hidden, heads, layers = DECODERS[size]
    return {
        "decoder_hidden_size": width,
        "decoder_intermediate_size": hidden,
        "decoder_num_attention_heads": heads,
        "decoder_num_hidden_layers": layers,
    }

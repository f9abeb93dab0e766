"""Autoencoders of the latent models: frozen, sliced so that memory stays bounded, differentiable in both directions.

Shapes: B batch, C channels, H and W latent height and width, H' and W' image height and width.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from drlbench.errors import UserError

SD_SCALE = 0.18215  # latent = SD_SCALE * posterior mean, for SiT and REPA
SLICE = 8  # images decoded at a time; one by one on a CPU, whose convolutions round by the size of the batch


def sliced(function: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """`function` over slices of the batch x (B, ...), the results joined.

    When a gradient is wanted, each slice's activations are recomputed in the backward pass instead of kept.
    """
    parts = x.split(size)
    if len(parts) == 1:
        return function(x)
    if torch.is_grad_enabled() and x.requires_grad:
        return torch.cat([checkpoint(function, part, use_reentrant=False) for part in parts])
    return torch.cat([function(part) for part in parts])


class SDVAE(nn.Module):
    """Stable Diffusion's autoencoder with the scaling of the latents that SiT and REPA are trained on.

    Args:
        vae: diffusers' AutoencoderKL.
        scale: factor from posterior mean to latent.
        slice_size: images encoded or decoded at a time; None takes 8, and 1 on a CPU, where that is faster and makes
            an image the same whatever batch it comes in.
    """

    vae: Any  # diffusers' own types leave encode and decode out

    def __init__(self, vae: nn.Module, scale: float = SD_SCALE, slice_size: int | None = None) -> None:
        super().__init__()
        self.vae = vae.eval().requires_grad_(False)
        self.scale, self.slice_size = scale, slice_size

    def encode(self, images: Tensor) -> Tensor:
        """Scaled posterior mean (B, 4, H'/8, W'/8) of images (B, 3, H', W') in [0, 1]."""
        return sliced(self._encode, images, self._at_a_time(images))

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, 8 H, 8 W), nominally in [0, 1], of latents (B, 4, H, W)."""
        return sliced(self._decode, latents, self._at_a_time(latents))

    def _at_a_time(self, x: Tensor) -> int:
        return self.slice_size or (1 if x.device.type == "cpu" else SLICE)

    def _encode(self, images: Tensor) -> Tensor:
        return self.vae.encode(images * 2 - 1).latent_dist.mean * self.scale

    def _decode(self, latents: Tensor) -> Tensor:
        return (self.vae.decode(latents / self.scale).sample + 1) / 2


def load_sd_vae(folder: Path) -> SDVAE:
    """The autoencoder in a folder as diffusers saves it: config.json and diffusion_pytorch_model.safetensors.

    Raises:
        UserError: a file is missing or damaged, or the weights do not fit the configuration.
    """
    from diffusers import AutoencoderKL
    from safetensors import SafetensorError

    weights = folder / "diffusion_pytorch_model.safetensors"
    for path in (folder / "config.json", weights):
        if not path.is_file():
            raise UserError(f"{path}: no such file; an SD-VAE folder holds config.json and {weights.name}")
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        if config.get("_class_name") != "AutoencoderKL":
            raise UserError(f"{folder / 'config.json'}: describes {config.get('_class_name')!r}, not AutoencoderKL")
        vae, report = AutoencoderKL.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
            torch_dtype=torch.float32,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder}: the SD-VAE cannot be loaded: {error}") from error
    wrong = [f"{kind.removesuffix('_keys')} {sorted(map(str, report[kind]))[:5]}" for kind in report if report[kind]]
    if wrong:
        raise UserError(f"{weights}: does not fit config.json: {'; '.join(wrong)}")
    bad = [name for name, tensor in vae.state_dict().items() if not torch.isfinite(tensor).all()]
    if bad:
        raise UserError(f"{weights}: {len(bad)} tensors hold NaN or infinity: {', '.join(bad[:5])}")
    return SDVAE(vae)

"""Autoencoders of the latent models: frozen, sliced so that memory stays bounded, differentiable in both directions.

Shapes: B batch, C channels, H and W latent height and width, H' and W' image height and width.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from drlbench.errors import UserError

SD_SCALE = 0.18215  # of Stable Diffusion 1 and 2, whose latents SiT and REPA are trained on
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
    """Stable Diffusion's autoencoder; latent = (posterior mean - shift) * scale.

    Args:
        vae: diffusers' AutoencoderKL.
        scale: factor to the latent, for all channels or (C,) for each.
        shift: what is taken from the posterior mean before, likewise.
        slice_size: images encoded or decoded at a time; None takes 8, and 1 on a CPU, where that is faster and makes
            an image the same whatever batch it comes in.
    """

    vae: Any  # diffusers' own types leave encode and decode out

    def __init__(
        self,
        vae: nn.Module,
        scale: float | Sequence[float] = SD_SCALE,
        shift: float | Sequence[float] = 0.0,
        slice_size: int | None = None,
    ) -> None:
        super().__init__()
        self.vae = vae.eval().requires_grad_(False)
        self.scale, self.shift, self.slice_size = scale, shift, slice_size

    @property
    def scaling(self) -> str:
        """How latents are scaled, in words."""
        return f"latent = (mean - {self.shift}) * {self.scale}"

    def encode(self, images: Tensor) -> Tensor:
        """Shifted and scaled posterior mean (B, C, H'/8, W'/8) of images (B, 3, H', W') in [0, 1]."""
        return sliced(self._encode, images, self._at_a_time(images))

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, 8 H, 8 W), nominally in [0, 1], of latents (B, C, H, W)."""
        return sliced(self._decode, latents, self._at_a_time(latents))

    def _at_a_time(self, x: Tensor) -> int:
        return self.slice_size or (1 if x.device.type == "cpu" else SLICE)

    def _encode(self, images: Tensor) -> Tensor:
        mean: Tensor = self.vae.encode(images * 2 - 1).latent_dist.mean
        return (mean - _by_channel(self.shift, mean)) * _by_channel(self.scale, mean)

    def _decode(self, latents: Tensor) -> Tensor:
        means = latents / _by_channel(self.scale, latents) + _by_channel(self.shift, latents)
        return (self.vae.decode(means).sample + 1) / 2


def _by_channel(value: float | Sequence[float], like: Tensor) -> float | Tensor:
    """A number for all channels as it is; one per channel as (C, 1, 1)."""
    return value if isinstance(value, int | float) else torch.tensor(value).to(like)[:, None, None]


def sd_vae_without_weights() -> SDVAE:
    """The published architecture, on the current device."""
    from diffusers import AutoencoderKL

    kinds = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    vae: Any = AutoencoderKL(
        down_block_types=kinds[0],
        up_block_types=kinds[1],
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
    )
    return SDVAE(vae)


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
    return SDVAE(vae, *_scaling(vae.config, folder / "config.json"))


def _scaling(config: Mapping[str, Any], where: Path) -> tuple[float | list[float], float | list[float]]:
    """Scale and shift of the latents as the folder's config says: one factor, or statistics of each channel.

    Raises:
        UserError: what it says is no scaling.
    """
    factor, shift = config["scaling_factor"], config.get("shift_factor")
    means, deviations = config.get("latents_mean"), config.get("latents_std")
    channels = config["latent_channels"]
    if not _is_number(factor) or factor <= 0:
        raise UserError(f"{where}: scaling_factor must be a positive number, not {factor!r}")
    if shift is not None and not _is_number(shift):
        raise UserError(f"{where}: shift_factor must be a number, not {shift!r}")
    if means is None and deviations is None:
        return float(factor), float(shift or 0.0)
    means, deviations = means or (), deviations or ()
    for name, values in (("latents_mean", means), ("latents_std", deviations)):
        if not isinstance(values, list | tuple) or len(values) != channels or not all(map(_is_number, values)):
            raise UserError(f"{where}: {name} must be {channels} numbers, one per latent channel, not {values!r}")
    if shift or min(deviations) <= 0:
        raise UserError(f"{where}: latents_std must be positive, and shift_factor left out beside latents_mean")
    return [factor / deviation for deviation in deviations], [float(mean) for mean in means]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

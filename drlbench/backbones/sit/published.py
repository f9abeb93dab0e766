"""What SiT's authors published: sizes, checkpoints with their numbers, the autoencoders, and the paper's settings.

`sit-xl-2` is the 256-pixel model; `-512` after a size gives the 512-pixel one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drlbench.backbones.cards import FLOAT32, AutoencoderCard, Card, Published
from drlbench.backbones.protocols import ADM, Protocol
from drlbench.weights.asset import Asset

TRANSFORMERS = {  # depth, hidden_size, num_heads
    "s": (12, 384, 6),
    "b": (12, 768, 12),
    "l": (24, 1024, 16),
    "xl": (28, 1152, 16),
}
AUTOENCODER = "sd-vae-ft-ema"


def transformer(size: str, pixels: int, patch: int) -> dict[str, Any]:
    """Constructor arguments of a size on the SD-VAE's latents of square images."""
    depth, hidden, heads = TRANSFORMERS[size]
    return {
        "input_size": pixels // 8,  # the SD-VAE's downsampling
        "patch_size": patch,
        "in_channels": 4,
        "hidden_size": hidden,
        "depth": depth,
        "num_heads": heads,
    }


SIZES = {
    f"sit-{size}-{patch}{suffix}": transformer(size, pixels, patch)
    for pixels, suffix in ((256, ""), (512, "-512"))
    for size in TRANSFORMERS
    for patch in (2, 4, 8)
}
README = "SiT README, 2025-11"
SDE = Protocol("sde_Euler_sigma_Mean", 250, cfg=1.5, labels="random")


def _card(size: str, parameters: int, published: tuple[Published, ...] = ()) -> Card:
    # The authors host all sizes on the Hub (willisma/SiT issue 42); their README still links XL on Dropbox.
    filename = f"SiT-{size.upper()}-2-256.pt"
    asset = Asset(
        f"sit-{size}-2-256",
        filename,
        hub="nyu-visionx/SiT-collections",
        size=parameters * FLOAT32,
        licence="MIT (of the code; the weights state none)",
    )
    return Card(asset.name, f"sit-{size}-2", asset, AUTOENCODER, "raw state dict", published=published)


CARDS: tuple[Card, ...] = (
    _card(
        "xl",
        675_129_632,
        (
            Published("fid", 2.06, f"{ADM}, SDE Euler 250, guidance 1.5", README, SDE),
            Published("inception_score", 270.27, f"{ADM}, SDE Euler 250, guidance 1.5", README),
        ),
    ),
    _card("b", 130_512_416),
    _card("s", 32_963_360),
)


def _sd_vae(name: str) -> AutoencoderCard:
    hub = f"stabilityai/{name}"
    weights = Asset(name, "diffusion_pytorch_model.safetensors", hub=hub, size=83_653_863 * FLOAT32, licence="MIT")
    config = Asset(f"{name}-config", "config.json", hub=hub, size=547, licence="MIT")
    return AutoencoderCard(name, "sd-vae", {"config": config, "weights": weights})


AUTOENCODERS = (_sd_vae(AUTOENCODER), _sd_vae("sd-vae-ft-mse"))
RECIPE: Mapping[str, Mapping[str, Any]] = {
    "adjoint-matching": {
        "batch": 576, "buffer": 2304, "passes": 5, "learning_rate": 1e-5, "warmup": 200, "steps": 100,
        "integrator": "local-linear", "timestep_fraction": 0.4, "timestep_split": 0.6, "loss_over_timesteps": "sum",
        "gradient_clip": None, "outlier_quantile": 0.9, "outlier_memory": 0.9, "outlier_spike_cap": 5.0,
    },
}  # fmt: skip

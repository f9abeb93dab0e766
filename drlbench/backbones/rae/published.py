"""What RAE's authors published: sizes, checkpoints with their numbers, the autoencoders, and the paper's settings.

`rae-ditdh-xl` is the 256-pixel model; `-512` after a size gives the 512-pixel one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drlbench.backbones.cards import FLOAT32, AutoencoderCard, Card, Published
from drlbench.backbones.protocols import ADM, Protocol
from drlbench.backbones.sit.published import RECIPE as SIT_RECIPE
from drlbench.backbones.sit.published import TRANSFORMERS
from drlbench.weights.asset import Asset

DINOV2_BASE_WIDTH = 768
AUTOENCODER = "rae-dinov2-b-256"
HUB = "nyu-visionx/RAE-collections"
DECODER_FINGERPRINT = "decoder_pred.weight"  # one name that only a decoder of stage 1 has
LICENCE = "as stated by the repository on the Hub"


def _arguments(size: str, pixels: int) -> dict[str, Any]:
    depth, hidden, heads = TRANSFORMERS[size]
    return {
        "input_size": pixels // 16,
        "patch_size": 1,
        "in_channels": DINOV2_BASE_WIDTH,
        "hidden_size": [hidden, 2048],
        "depth": [depth, 2],
        "num_heads": [heads, 16],
    }


SIZES = {
    f"rae-ditdh-{size}{suffix}": _arguments(size, pixels)
    for pixels, suffix in ((256, ""), (512, "-512"))
    for size in ("s", "xl")
}


def _card(name: str, size: str, folder: str, entries: int, pixels: int, published: tuple[Published, ...] = ()) -> Card:
    filename = f"DiTs/Dinov2/wReg_base/ImageNet{pixels}/{folder}/stage2_model.pt"
    asset = Asset(name, filename, hub=HUB, size=entries * FLOAT32, licence=LICENCE)
    return Card(name, size, asset, f"rae-dinov2-b-{pixels}", "raw state dict", published=published)


CARDS: tuple[Card, ...] = (
    _card(
        "rae-ditdh-xl-256",
        "rae-ditdh-xl",
        "DiTDH-XL",
        838_778_196,
        256,
        (
            Published(
                "fid",
                1.51,
                f"{ADM}, balanced labels, Euler 50, unguided",
                "arXiv 2510.11690, abstract",
                Protocol("euler", 50),
            ),
            Published(
                "fid",
                1.13,
                f"{ADM}, balanced labels, Euler 50, autoguidance 1.42",
                "arXiv 2510.11690, abstract",
                Protocol("euler", 50, cfg=1.42, guide="rae-ditdh-s-256"),
            ),
        ),
    ),
    _card("rae-ditdh-s-256", "rae-ditdh-s", "DiTDH-S_ep14", 196_554_068, 256),
    _card(
        "rae-ditdh-xl-512",
        "rae-ditdh-xl-512",
        "DiTDH-XL_ep400",
        839_970_132,
        512,
        (Published("fid", 1.13, "50,000 samples at 512, autoguidance 1.5", "arXiv 2510.11690, abstract"),),
    ),
    _card("rae-ditdh-s-512", "rae-ditdh-s-512", "DiTDH-S_ep20", 197_143_892, 512),
)


def _autoencoder(pixels: int) -> AutoencoderCard:
    suffix = "" if pixels == 256 else f"_i{pixels}"
    statistics = "imagenet1k" if pixels == 256 else f"imagenet1k_{pixels}"
    name = f"rae-dinov2-b-{pixels}"
    decoder = Asset(
        f"{name}-decoder",
        f"decoders/dinov2/wReg_base/ViTXL_n08{suffix}/model.pt",
        hub=HUB,
        size=(415_352_704 if pixels == 256 else 416_237_440) * FLOAT32,
        licence=LICENCE,
    )
    stat = Asset(
        f"{name}-statistics",
        f"stats/dinov2/wReg_base/{statistics}/stat.pt",
        hub=HUB,
        size=2 * DINOV2_BASE_WIDTH * (pixels // 16) ** 2 * FLOAT32,
        licence=LICENCE,
    )
    encoder = Asset(
        "dinov2-with-registers-base",
        "model.safetensors",
        hub="facebook/dinov2-with-registers-base",
        size=86_583_552 * FLOAT32,
        licence="Apache-2.0",
    )
    return AutoencoderCard(name, "rae", {"encoder": encoder, "decoder": decoder, "statistics": stat}, pixels)


AUTOENCODERS = (_autoencoder(256), _autoencoder(512))
RECIPE: Mapping[str, Mapping[str, Any]] = {
    "adjoint-matching": {
        **SIT_RECIPE["adjoint-matching"],
        "buffer": 3072, "learning_rate": 5e-5, "loss_over_timesteps": "mean", "gradient_clip": 1.0,
        "outlier_quantile": 0.75, "outlier_memory": 0.995,
    },
}  # fmt: skip

"""A card per official checkpoint: where it lies, what it holds, and which number its authors published for it.

Nothing here imports torch, so that planning a run stays fast. A size marked as an estimate is the number of float32
values times four; a checksum is empty where the authors publish none and nobody has recorded one yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drlbench.backbones.known import Known
from drlbench.backbones.protocols import JIT_REFERENCE, Protocol
from drlbench.errors import UserError, did_you_mean
from drlbench.weights.asset import Asset

FLOAT32 = 4
REPA_DROPBOX = (
    "https://www.dl.dropboxusercontent.com/scl/fi/cxedbs4da5ugjq5wg3zrg/last.pt"
    "?rlkey=8otgrdkno0nd89po3dpwngwcc&st=apcc645o&dl=1"
)
JIT_FOLDER = (
    "https://www.dropbox.com/scl/fo/3ken1avtsd81ip67b9qpi/AK218ZNvXKSv74igVvht4PQ?rlkey=14gjrblmljewpl6ygxzlr3njm&dl=0"
)
RAE_HUB = "nyu-visionx/RAE-collections"


@dataclass(frozen=True)
class Published:
    """A number from the authors, and how they measured it: in words, and where known as steps to repeat."""

    metric: str
    value: float
    protocol: str
    source: str
    how: Protocol | None = None


@dataclass(frozen=True)
class Card:
    """An official network.

    Attributes:
        size: the name `drlbench.backbones.create` knows it by.
        asset: the checkpoint.
        autoencoder: "pixels" or a name in `AUTOENCODERS`.
        format: "raw state dict", or "training checkpoint" with an entry per copy of the weights.
        ema: the entry the official evaluation takes; empty for a raw state dict.
        published: the authors' numbers.
    """

    name: str
    size: str
    asset: Asset
    autoencoder: str
    format: str
    ema: str = ""
    published: tuple[Published, ...] = ()


@dataclass(frozen=True)
class AutoencoderCard:
    """An official autoencoder: its kind ("sd-vae" or "rae") and its files by role."""

    name: str
    kind: str
    assets: dict[str, Asset] = field(default_factory=dict)
    pixels: int = 256


ADM = "50,000 samples, ADM TensorFlow suite, VIRTUAL_imagenet256_labeled.npz"
JIT_PROTOCOL = "50,000 samples (50 a class), Heun 50, guidance in (0.1, 1), torch-fidelity against ImageNet train"
SIT_SDE = Protocol("sde_Euler_sigma_Mean", 250, cfg=1.5, labels="random")
REPA_SDE = Protocol("sde", 250, cfg=1.8, low=1 - 0.7, labels="random")  # guidance for t <= 0.7 with t = 1 noise
SIT_README = "SiT README, 2025-11"
RAE_README = "RAE README, 2026-01"


def _sit(size: str, parameters: int, published: tuple[Published, ...] = ()) -> Card:
    # The authors host all sizes on the Hub (willisma/SiT issue 42); their README still links XL on Dropbox.
    filename = f"SiT-{size.upper()}-2-256.pt"
    asset = Asset(
        f"sit-{size}-2-256",
        filename,
        hub="nyu-visionx/SiT-collections",
        size=parameters * FLOAT32,
        licence="MIT (of the code; the weights state none)",
    )
    return Card(asset.name, f"sit-{size}-2", asset, "sd-vae-ft-ema", "raw state dict", published=published)


def _jit(name: str, parameters: int, cfg: float, fid: float, source: str) -> Card:
    # Three copies: the raw weights and two averages, of which the evaluation always takes the first.
    asset = Asset(
        name,
        f"{name}/checkpoint-last.pth",
        page=JIT_FOLDER,
        size=3 * parameters * FLOAT32,
        licence="MIT (of the code; the weights state none)",
    )
    # Of the 512-pixel models (patch 32) no statistics file is known here.
    how = Protocol("heun", 50, cfg, low=0.1, reference=JIT_REFERENCE) if name.endswith("-16") else None
    published = (Published("fid", fid, f"{JIT_PROTOCOL}, scale {cfg:g}", source, how),)
    return Card(name, name, asset, "pixels", "training checkpoint", "model_ema1", published)


def _rae(name: str, size: str, folder: str, entries: int, pixels: int, published: tuple[Published, ...] = ()) -> Card:
    asset = Asset(
        name,
        f"DiTs/Dinov2/wReg_base/ImageNet{pixels}/{folder}/stage2_model.pt",
        hub=RAE_HUB,
        size=entries * FLOAT32,
        licence="as stated by the repository on the Hub",
    )
    return Card(name, size, asset, f"rae-dinov2-b-{pixels}", "raw state dict", published=published)


_CARDS = (
    _sit(
        "xl",
        675_129_632,
        (
            Published("fid", 2.06, f"{ADM}, SDE Euler 250, guidance 1.5", SIT_README, SIT_SDE),
            Published("inception_score", 270.27, f"{ADM}, SDE Euler 250, guidance 1.5", SIT_README),
        ),
    ),
    _sit("b", 130_512_416),
    _sit("s", 32_963_360),
    _jit("jit-b-16", 131_320_320, 3.0, 3.66, "arXiv 2511.13720, from memory"),
    _jit("jit-b-32", 133_387_008, 3.0, 4.02, "LTH14/JiT issue 41"),
    _jit("jit-l-16", 459_139_808, 2.4, 2.36, "arXiv 2511.13720, from memory"),
    _jit("jit-l-32", 461_796_320, 2.5, 2.53, "arXiv 2511.13720, from memory"),
    _jit("jit-h-16", 952_842_048, 2.2, 1.86, "arXiv 2511.13720"),
    _jit("jit-h-32", 956_383_296, 2.3, 1.94, "arXiv 2511.13720, from memory"),
    Card(
        "repa-sit-xl-2-256",
        "repa-sit-xl-2",
        Asset("repa-sit-xl-2-256", "last.pt", url=REPA_DROPBOX, size=683_242_512 * FLOAT32, licence="MIT"),
        "sd-vae-ft-ema",
        "raw state dict",
        published=(
            Published(
                "fid",
                1.42,
                f"{ADM}, SDE 250, guidance 1.8 for t <= 0.7 (t = 1 noise)",
                "REPA README, 2025-01",
                REPA_SDE,
            ),
        ),
    ),
    _rae(
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
    _rae("rae-ditdh-s-256", "rae-ditdh-s", "DiTDH-S_ep14", 196_554_068, 256),
    _rae(
        "rae-ditdh-xl-512",
        "rae-ditdh-xl-512",
        "DiTDH-XL_ep400",
        839_970_132,
        512,
        (Published("fid", 1.13, "50,000 samples at 512, autoguidance 1.5", "arXiv 2510.11690, abstract"),),
    ),
    _rae("rae-ditdh-s-512", "rae-ditdh-s-512", "DiTDH-S_ep20", 197_143_892, 512),
)
CARDS: Mapping[str, Card] = Known(
    {card.name: card for card in _CARDS}, lambda _, kind: {card.name: card for card in kind.cards}
)


def _sd_vae(name: str) -> AutoencoderCard:
    hub = f"stabilityai/{name}"
    weights = Asset(name, "diffusion_pytorch_model.safetensors", hub=hub, size=83_653_863 * FLOAT32, licence="MIT")
    config = Asset(f"{name}-config", "config.json", hub=hub, size=547, licence="MIT")
    return AutoencoderCard(name, "sd-vae", {"config": config, "weights": weights})


def _rae_autoencoder(pixels: int) -> AutoencoderCard:
    suffix = "" if pixels == 256 else f"_i{pixels}"
    statistics = "imagenet1k" if pixels == 256 else f"imagenet1k_{pixels}"
    name = f"rae-dinov2-b-{pixels}"
    decoder = Asset(
        f"{name}-decoder",
        f"decoders/dinov2/wReg_base/ViTXL_n08{suffix}/model.pt",
        hub=RAE_HUB,
        size=(415_352_704 if pixels == 256 else 416_237_440) * FLOAT32,
        licence="as stated by the repository on the Hub",
    )
    stat = Asset(
        f"{name}-statistics",
        f"stats/dinov2/wReg_base/{statistics}/stat.pt",
        hub=RAE_HUB,
        size=2 * 768 * (pixels // 16) ** 2 * FLOAT32,
        licence="as stated by the repository on the Hub",
    )
    encoder = Asset(
        "dinov2-with-registers-base",
        "model.safetensors",
        hub="facebook/dinov2-with-registers-base",
        size=86_583_552 * FLOAT32,
        licence="Apache-2.0",
    )
    return AutoencoderCard(name, "rae", {"encoder": encoder, "decoder": decoder, "statistics": stat}, pixels)


AUTOENCODERS: dict[str, AutoencoderCard] = {
    card.name: card
    for card in (
        _sd_vae("sd-vae-ft-ema"),
        _sd_vae("sd-vae-ft-mse"),
        _rae_autoencoder(256),
        _rae_autoencoder(512),
    )
}


def autoencoder_card(name: str) -> AutoencoderCard:
    """The card of that name.

    Raises:
        UserError: unknown name.
    """
    if name not in AUTOENCODERS:
        valid = ["pixels", *AUTOENCODERS]
        raise UserError(f"unknown autoencoder '{name}'{did_you_mean(name, valid)}; valid: {', '.join(valid)}")
    return AUTOENCODERS[name]


def published_fid(checkpoint: str) -> tuple[Card, Published, Protocol]:
    """The first FID of a card that can be measured again, and how.

    Raises:
        UserError: no such card, or one without such a number.
    """
    if checkpoint not in CARDS:
        raise UserError(f"'{checkpoint}' is no card{did_you_mean(checkpoint, CARDS)}; cards: {', '.join(CARDS)}")
    for number in CARDS[checkpoint].published:
        if number.metric == "fid" and number.how is not None:
            return CARDS[checkpoint], number, number.how
    able = [name for name, card in CARDS.items() if any(p.how for p in card.published)]
    raise UserError(f"the card {checkpoint} holds no FID that can be measured again; those that do: {', '.join(able)}")

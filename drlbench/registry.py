"""Names to classes, lazily: a name is bound to "module:attribute" and imported only when asked for.

Third parties add names through the entry-point groups `drlbench.backbones`, `.rewards`, `.algorithms`,
`.encoders`, `.metrics` and `.stages`. A suite names registered names only, never dotted paths.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from drlbench.errors import UserError, did_you_mean, shown


@cache
def installed() -> Any:
    """The entry points of every installed package, read once: each look goes through all of them."""
    return entry_points()


@dataclass
class Registry:
    """One kind of thing a suite can name."""

    kind: str
    builtin: dict[str, str]

    @cached_property
    def plugins(self) -> dict[str, EntryPoint]:
        """Names that installed packages add; a name that is already taken is an error naming both owners."""
        found: dict[str, EntryPoint] = {}
        for point in installed().select(group=f"drlbench.{self.kind}"):
            owner = point.dist.name if point.dist else "an unnamed distribution"
            if point.name in self.builtin:
                raise UserError(f"{self.kind[:-1]} '{point.name}' of {owner} is already a name of drlbench itself")
            if point.name in found:
                dist = found[point.name].dist
                other = dist.name if dist else "an unnamed distribution"
                raise UserError(f"{self.kind[:-1]} '{point.name}' is registered twice: by {other} and {owner}")
            found[point.name] = point
        return found

    def names(self) -> list[str]:
        """Every registered name, drlbench's own first."""
        return [*self.builtin, *sorted(self.plugins)]

    def target(self, name: str) -> str:
        """Return "module:attribute" for a name without importing it.

        Raises:
            UserError: the name is not registered; the nearest valid names are given.
        """
        if name in self.builtin:
            return self.builtin[name]
        if name in self.plugins:
            return self.plugins[name].value
        valid = self.names()
        raise UserError(
            f"unknown {self.kind[:-1]} '{shown(name)}'{did_you_mean(name, valid)}; valid: {', '.join(valid)}"
        )

    def get(self, name: str) -> Any:
        """Import and return the class or function behind a name."""
        module, _, attribute = self.target(name).partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            if name in self.plugins:
                raise UserError(
                    f"plug-in {self.kind[:-1]} '{name}' ({module}:{attribute}) does not load: {error}"
                ) from error
            raise


def build(kind: Any, what: str, settings: Mapping[str, Any]) -> Any:
    """An object of a registered class with these settings.

    Raises:
        UserError: a setting that the class does not take or one that it needs, which `what` then names.
    """
    signature = inspect.signature(kind)
    try:
        signature.bind(**settings)
    except TypeError as error:
        raise UserError(f"{what}: {error}; it takes: {', '.join(signature.parameters) or 'nothing'}") from error
    return kind(**settings)


# Each line is a whole registration: the name a suite writes, and where it lives.
BACKBONES = Registry(
    "backbones",
    {
        "sit": "drlbench.backbones.sit.network:SiT",
        "jit": "drlbench.backbones.jit.network:JiT",
        "repa": "drlbench.backbones.repa.network:REPA",
        "rae": "drlbench.backbones.rae.network:DiTDH",
        "mlp": "drlbench.backbones.mlp.network:MLP",
    },
)

REWARDS = Registry(
    "rewards",
    {
        "discriminator": "drlbench.rewards.discriminator:Discriminator",
        "bradley-terry": "drlbench.rewards.bradley_terry:BradleyTerry",
        "imagereward": "drlbench.rewards.imagereward:ImageReward",
        "pickscore": "drlbench.rewards.pickscore:PickScore",
        "hpsv2": "drlbench.rewards.hpsv2:HPSv2",
        "hpsv2.1": "drlbench.rewards.hpsv2:HPSv21",
        "aesthetic-v2.5": "drlbench.rewards.aesthetic:AestheticV25",
        "laion-aesthetic": "drlbench.rewards.aesthetic:LAIONAesthetic",
        "clipscore": "drlbench.rewards.clipscore:CLIPScore",
        "brisque": "drlbench.rewards.brisque:Brisque",
        "direction": "drlbench.rewards.direction:Direction",
    },
)

ALGORITHMS = Registry(
    "algorithms",
    {
        "adjoint-matching": "drlbench.finetune.adjoint_matching:AdjointMatching",
        "sft": "drlbench.finetune.sft:FlowMatchingSFT",
        "ram": "drlbench.finetune.ram:RAM",
        "awm": "drlbench.finetune.awm:AWM",
        "nft": "drlbench.finetune.nft:NFT",
        "flow-grpo": "drlbench.finetune.flow_grpo:FlowGRPO",
        "rwm": "drlbench.finetune.rwm:RWM",
        "draft": "drlbench.finetune.draft:DRaFT",
        "ddo": "drlbench.finetune.ddo:DDO",
        "fd-loss": "drlbench.finetune.fd_loss:FDLoss",
    },
)

ENCODERS = Registry(
    "encoders",
    {
        "small-classifier": "drlbench.encoders.small_classifier:SmallClassifier",
        "small-dae": "drlbench.encoders.small_dae:DenoisingAutoencoder",
        "small-contrastive": "drlbench.encoders.small_contrastive:Contrastive",
        "pixels": "drlbench.encoders.pixels:Pixels",
        "fourier": "drlbench.encoders.fourier:Fourier",
        "inception-v3": "drlbench.encoders.inception:InceptionV3",
        "efficientnet-lite": "drlbench.encoders.efficientnet_lite:EfficientNetLite",
        "open-nsfw": "drlbench.encoders.open_nsfw:OpenNSFW",
        "dinov2": "drlbench.encoders.dino:DINOv2",
        "dinov3": "drlbench.encoders.dino:DINOv3",
        "siglip": "drlbench.encoders.siglip:SigLIP",
        "clip": "drlbench.encoders.clip:CLIP",
    },
)

METRICS = Registry(
    "metrics",
    {
        "fd": "drlbench.metrics.frechet:FrechetDistance",
        "fd-infinity": "drlbench.metrics.fd_infinity:FrechetInfinity",
        "mind": "drlbench.metrics.mind:MIND",
        "kd": "drlbench.metrics.kernel:KernelDistance",
        "prdc": "drlbench.metrics.manifold:PRDC",
        "copying": "drlbench.metrics.copying:Copying",
        "spread": "drlbench.metrics.spread:ClassSpread",
        "stats": "drlbench.metrics.statistics:ImageStatistics",
        "inception-score": "drlbench.metrics.inception_score:InceptionScore",
        "cmmd": "drlbench.metrics.cmmd:CMMD",
    },
)

# A third party's kinds of stage; drlbench's own have their places in the pipeline (`drlbench.stages`).
STAGES = Registry("stages", {})

REGISTRIES = {r.kind: r for r in (BACKBONES, REWARDS, ALGORITHMS, ENCODERS, METRICS, STAGES)}

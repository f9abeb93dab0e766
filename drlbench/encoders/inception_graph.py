"""The graph of the 2015-12-05 Inception-v3 (Szegedy et al. 2015), under torch-fidelity's parameter names.

Shapes: B batch, C channels, H and W height and width of a grid.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

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

    def layer(self, name: str) -> Conv:
        """A convolution by its name."""
        found = self.get_submodule(name)
        assert isinstance(found, Conv)
        return found

    def branch(self, index: int, x: Tensor) -> Tensor:
        """Output of one branch."""
        for name in self.paths[index]:
            x = self.layer(name)(x)
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
            self.layer(f"{stem}{side}")(stump)
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

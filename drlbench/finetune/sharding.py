"""FSDP2: each rank keeps its part of weights, gradients and Adam moments.

Parameters are gathered at the first forward and given back after the backward, so that a rollout of K steps gathers
once. Everything outside this file sees plain tensors: a rank's part, or the whole.
"""

from __future__ import annotations

import sys
from typing import Any

from torch import Tensor, nn

from drlbench.finetune.memory import block_lists
from drlbench.finetune.ranks import world


def shard(network: nn.Module) -> None:
    """Divide a network among all ranks, block by block, in place."""
    # Here, because this part of torch takes longer to import than a suite to validate.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    device = next(network.parameters()).device.type
    mesh = init_device_mesh(device, (world()[1],))
    for module in (*block_lists(network), network):
        fully_shard(module, mesh=mesh, reshard_after_forward=False)


def is_divided(parameter: Tensor) -> bool:
    """Whether ranks share a parameter; none does before `shard` has brought in what divides it."""
    tensors = sys.modules.get("torch.distributed.tensor")
    return tensors is not None and isinstance(parameter, tensors.DTensor)


def give_back(network: nn.Module) -> None:
    """Drop gathered parameters, so that the next forward gathers the updated ones."""
    from torch.distributed.fsdp import FSDPModule

    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def own_part(parameter: Tensor) -> Tensor:
    """This rank's part, sharing the parameter's memory; the parameter itself where it is not divided."""
    divided: Any = parameter
    return nn.Parameter(divided.to_local().detach()) if is_divided(parameter) else parameter


def whole(parameter: Tensor, part: Tensor) -> Tensor:
    """The whole of a tensor of which `part` is this rank's share, divided as `parameter` is; on every rank."""
    if not is_divided(parameter):
        return part
    from torch.distributed.tensor import DTensor

    divided: Any = parameter
    laid_out = DTensor.from_local(
        part, divided.device_mesh, divided.placements, shape=parameter.shape, stride=parameter.stride()
    )
    return laid_out.full_tensor()

"""FSDP2: each rank keeps its part of weights, gradients and Adam moments.

Parameters are gathered at the first forward and given back after the backward, so that a rollout of K steps gathers
once. Everything outside this file sees plain tensors: a rank's part, or the whole.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from drlbench.finetune.memory import block_lists
from drlbench.finetune.ranks import world


def shard(network: nn.Module) -> None:
    """Divide a network among all ranks, block by block, in place."""
    device = next(network.parameters()).device.type
    mesh = init_device_mesh(device, (world()[1],))
    for module in (*block_lists(network), network):
        fully_shard(module, mesh=mesh, reshard_after_forward=False)


def give_back(network: nn.Module) -> None:
    """Drop gathered parameters, so that the next forward gathers the updated ones."""
    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def own_part(parameter: Tensor) -> Tensor:
    """This rank's part, sharing the parameter's memory; the parameter itself where it is not divided."""
    return nn.Parameter(parameter.to_local().detach()) if isinstance(parameter, DTensor) else parameter


def whole(parameter: Tensor, part: Tensor) -> Tensor:
    """The whole of a tensor of which `part` is this rank's share, divided as `parameter` is; on every rank."""
    if not isinstance(parameter, DTensor):
        return part
    laid_out = DTensor.from_local(
        part, parameter.device_mesh, parameter.placements, shape=parameter.shape, stride=parameter.stride()
    )
    return laid_out.full_tensor()

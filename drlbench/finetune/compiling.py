"""torch.compile with static shapes, block by block.

The blocks of a stack are one piece of code, so they are compiled once between them: seconds instead of the minutes that
the whole of a 28-block network takes, for the same kernels. Sharding gathers parameters between blocks, outside the
compiled parts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from drlbench.backbones.base import VelocityModel
from drlbench.errors import MissingPrerequisite
from drlbench.finetune.memory import block_lists
from drlbench.flow.path import Velocity

# One compiled piece serves policy, reference and snapshots, with and without gradients, at two sizes of chunk each.
VARIANTS = 64


def compiled(model: VelocityModel) -> Velocity:
    """The model's velocity with its blocks compiled in place; a network without a stack is compiled whole.

    Copies of the model are not compiled, and no name in its state changes. Compilation happens at the first call.

    Raises (at a call):
        MissingPrerequisite: the compiler does not work on this machine.
    """
    # Here, because torch's compiler takes longer to import than a suite to validate.
    from torch._dynamo.exc import BackendCompilerFailed

    torch._dynamo.config.recompile_limit = max(VARIANTS, torch._dynamo.config.recompile_limit)
    blocks = list(block_lists(model.net))
    call: Velocity = model.velocity if blocks else torch.compile(model.velocity, dynamic=False)
    for block in blocks:
        block.compile(dynamic=False)

    def velocity(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        try:
            return call(x, t, y)
        except BackendCompilerFailed as error:
            cause = error.inner_exception
            told = f"{type(cause).__name__}: {str(cause).partition(chr(10))[0]}"
            raise MissingPrerequisite(
                f"compile: true does not work on this machine ({told}); it takes a C++ compiler, and Triton on a GPU. "
                "Set compile: false to run without"
            ) from error

    return velocity

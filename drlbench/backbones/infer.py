"""The architecture of a network read off its weights, so that a checkpoint of one's own needs no description.

What is read off which weight is each family's own, `Backbone.infer_architecture`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from drlbench.backbones.keys import FINGERPRINTS
from drlbench.errors import UserError
from drlbench.registry import BACKBONES


def family_of(state: Mapping[str, Tensor]) -> str | None:
    """The backbone whose names these weights carry, or None."""
    return next((name for name, mark in FINGERPRINTS.items() if mark in state and name in BACKBONES.names()), None)


def infer_architecture(family: str, state: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments of the network that these weights fit; `given` ones are taken as they are.

    Args:
        family: a registered backbone.
        state: official names to tensors, unwrapped.
        given: what the user says; some arguments leave no trace in the weights (the number of heads of a width that
            no official size has).

    Raises:
        UserError: the weights lack what the family always has, or an argument that must be given is not.
    """
    try:
        found = BACKBONES.get(family).infer_architecture(state, given)
    except KeyError as error:
        raise UserError(f"state dict does not fit {family}: 1 missing: {error.args[0]}") from None
    return {**found, **given}


def needed(family: str, name: str, because: str) -> UserError:
    """The error of an argument that leaves no trace in the weights."""
    return UserError(
        f"{family}: {name} cannot be read off the weights ({because}); say it: --architecture {name}=VALUE "
        f"(in Python and in a suite, architecture: {{{name}: VALUE}})"
    )


def depth_of(state: Mapping[str, Tensor]) -> int:
    """How many `blocks` there are."""
    numbers = {int(key.split(".")[1]) for key in state if key.startswith("blocks.")}
    return max(numbers, default=-1) + 1

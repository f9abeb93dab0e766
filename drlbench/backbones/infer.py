"""The architecture of a network read off its weights, so that a checkpoint of one's own needs no description.

Shapes: D width, N tokens, C channels, p patch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isqrt
from typing import Any

from torch import Tensor

from drlbench.backbones.keys import FINGERPRINTS
from drlbench.backbones.sizes import JITS, TRANSFORMERS
from drlbench.errors import UserError
from drlbench.registry import BACKBONES

HEADS = {width: heads for _, width, heads in TRANSFORMERS.values()}
CONTEXT_START = {(depth, width): start for depth, width, _, _, start in JITS.values()}


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
        if family in _OWN:
            found = _OWN[family](state, given)
        else:
            found = BACKBONES.get(family).infer_architecture(state, given)
    except KeyError as error:
        raise UserError(f"state dict does not fit {family}: 1 missing: {error.args[0]}") from None
    return {**found, **given}


def _needed(family: str, name: str, because: str) -> UserError:
    return UserError(
        f"{family}: {name} cannot be read off the weights ({because}); say it: --architecture {name}=VALUE "
        f"(in Python and in a suite, architecture: {{{name}: VALUE}})"
    )


def _depth(state: Mapping[str, Tensor]) -> int:
    numbers = {int(key.split(".")[1]) for key in state if key.startswith("blocks.")}
    return max(numbers, default=-1) + 1


def _heads(family: str, width: int, given: Mapping[str, Any]) -> int:
    if "num_heads" in given:
        return int(given["num_heads"])
    if width not in HEADS:
        raise _needed(family, "num_heads", f"no official size is {width} wide")
    return HEADS[width]


def _sit(state: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
    width, channels, patch, _ = state["x_embedder.proj.weight"].shape
    side = isqrt(state["pos_embed"].shape[1])
    return {
        "input_size": side * patch,
        "patch_size": patch,
        "in_channels": channels,
        "hidden_size": width,
        "depth": _depth(state),
        "num_heads": _heads("sit", width, given),
        "mlp_ratio": state["blocks.0.mlp.fc1.weight"].shape[0] / width,
        "num_classes": state["y_embedder.embedding_table.weight"].shape[0] - 1,
        "learn_sigma": state["final_layer.linear.weight"].shape[0] == 2 * patch**2 * channels,
    }


def _repa(state: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
    found = _sit(state, given)
    del found["learn_sigma"]
    legacy = {int(key.split(".")[1]) for key in state if key.startswith("decoder_blocks.")}
    if legacy:
        found["encoder_depth"] = found["depth"]
        found["depth"] += max(legacy) + 1
    else:
        found["encoder_depth"] = min(8, found["depth"])  # the authors' default; sampling does not depend on it
    last = [state[f"projectors.{k}.4.weight"] for k in range(len({k for k in state if k.endswith(".4.weight")}))]
    return {**found, "z_dims": [w.shape[0] for w in last], "projector_dim": state["projectors.0.0.weight"].shape[0]}


def _jit(state: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
    bottleneck, channels, patch, _ = state["x_embedder.proj1.weight"].shape
    _, tokens, width = state["pos_embed"].shape
    depth = _depth(state)
    context = state["in_context_posemb"].shape[1] if "in_context_posemb" in state else 0
    start = given.get("in_context_start", CONTEXT_START.get((depth, width), 0 if context == 0 else None))
    if start is None:
        raise _needed("jit", "in_context_start", f"no official size is {width} wide and {depth} deep")
    return {
        "input_size": isqrt(tokens) * patch,
        "patch_size": patch,
        "in_channels": channels,
        "hidden_size": width,
        "depth": depth,
        "num_heads": width // state["blocks.0.attn.q_norm.weight"].shape[0],
        "mlp_ratio": _swiglu_ratio("jit", width, state["blocks.0.mlp.w3.weight"].shape[1], given),
        "num_classes": state["y_embedder.embedding_table.weight"].shape[0] - 1,
        "bottleneck_dim": bottleneck,
        "in_context_len": context,
        "in_context_start": start,
    }


def _swiglu_ratio(family: str, width: int, hidden: int, given: Mapping[str, Any]) -> float:
    """The ratio r with int(int(r D) 2 / 3) = hidden, which is 4 in every released model."""
    if "mlp_ratio" in given:
        return float(given["mlp_ratio"])
    for ratio in (4.0, 2.0, 8.0, 3.0, 6.0):
        if int(int(width * ratio) * 2 / 3) == hidden:
            return ratio
    raise _needed(family, "mlp_ratio", f"hidden width {hidden}")


def _rae(state: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
    trunk, channels = state["s_embedder.proj.weight"].shape[:2]
    head = state["x_embedder.proj.weight"].shape[0]
    rope = [state[f"{part}_feat_rope.freqs_cos"].shape for part in ("enc", "dec")]
    widths = [state[f"blocks.{k}.attn.proj.weight"].shape[0] for k in range(_depth(state))]
    swiglu = "blocks.0.mlp.w3.weight" in state
    qk = "blocks.0.attn.q_norm.weight" in state
    # Where trunk and head are equally wide only the count of blocks is known, and the head always has two.
    deep = [w == trunk for w in widths].index(False) if trunk != head else len(widths) - 2
    depth = list(given.get("depth", [deep, len(widths) - deep]))
    return {
        "input_size": isqrt(rope[0][0]),
        "in_channels": channels,
        "hidden_size": [trunk, head],
        "depth": depth,
        "num_heads": [trunk // rope[0][1], head // rope[1][1]],
        "num_classes": state["y_embedder.embedding_table.weight"].shape[0] - 1,
        "use_swiglu": swiglu,
        "use_rmsnorm": "blocks.0.norm1.weight" in state,
        "use_pos_embed": "pos_embed" in state,
        "use_qknorm": qk,
    }


_OWN: Mapping[str, Callable[[Mapping[str, Tensor], Mapping[str, Any]], dict[str, Any]]] = {
    "sit": _sit,
    "repa": _repa,
    "jit": _jit,
    "rae": _rae,
}

"""Weights into a network, strictly: every name that does not fit is told in one error, and then nothing is loaded."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from drlbench.errors import UserError
from drlbench.weights.skeleton import skeleton

SHOWN = 5  # names told per kind of mistake; the rest are counted


def load_strict(
    net: nn.Module,
    state: Mapping[str, Tensor],
    name: str,
    official: Callable[[str], str] = str,
    ignored: tuple[str, ...] = (),
    marks: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Put `state` into `net`; nothing is loaded unless every name and shape fits and every value is finite.

    Args:
        net: the network; one on the meta device takes the tensors over, any other copies them.
        state: official names to tensors; floating-point ones end in the network's own types.
        name: what to call the network in errors.
        official: the official name of one of the network's own names, where they differ.
        ignored: endings of names in `state` that the network makes itself.
        marks: networks by a name that only their weights have, to tell what foreign weights look like.

    Raises:
        UserError: missing, unexpected or mis-shaped names, or weights that are not finite numbers.
    """
    if skeleton():
        return
    state = {key: value for key, value in state.items() if not (ignored and key.endswith(ignored))}
    own = net.state_dict()
    ours = {official(key): key for key in own}
    expected = {key: own[ours[key]] for key in ours}
    missing = sorted(expected.keys() - state.keys())
    unexpected = sorted(state.keys() - expected.keys())
    shared = [key for key in expected if key in state]
    misshaped = [key for key in shared if state[key].shape != expected[key].shape]
    notes: list[str] = []
    if missing:
        notes.append(f"{len(missing)} missing: {listed([k + _near(k, unexpected) for k in missing[:SHOWN]], missing)}")
    if unexpected:
        near = [k + _near(k, missing) for k in unexpected[:SHOWN]]
        notes.append(f"{len(unexpected)} unexpected: {listed(near, unexpected)}")
    if misshaped:
        shapes = [f"{k} is {list(state[k].shape)}, not {list(expected[k].shape)}" for k in misshaped[:SHOWN]]
        notes.append(f"{len(misshaped)} mis-shaped: {listed(shapes, misshaped)}")
    if notes:
        looks = _looks_like(state, name, marks, mostly_fits=2 * len(shared) > len(expected))
        raise UserError(f"state dict does not fit {name}: {'; '.join(notes)}{looks}")
    bad = [k for k in shared if not _is_finite(state[k])]
    if bad:
        raise UserError(f"state dict for {name}: {len(bad)} tensors hold NaN or infinity: {listed(bad[:SHOWN], bad)}")
    wrong = [k for k in shared if expected[k].is_floating_point() and not state[k].is_floating_point()]
    if wrong:
        kinds = [f"{k} is {str(state[k].dtype).removeprefix('torch.')}" for k in wrong[:SHOWN]]
        raise UserError(
            f"state dict for {name}: {len(wrong)} weights are no floating-point numbers: {listed(kinds, wrong)}"
        )
    fitting = {ours[key]: value.to(expected[key].dtype) for key, value in state.items()}
    net.load_state_dict(fitting, assign=any(value.is_meta for value in own.values()))


def _is_finite(tensor: Tensor) -> bool:
    return tensor.is_meta or not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def listed(shown: list[str], every: list[str]) -> str:
    """The names shown, and how many more there are."""
    more = len(every) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _near(key: str, others: list[str]) -> str:
    near = difflib.get_close_matches(key, others, n=1, cutoff=0.8)
    return f" (nearest: {near[0]})" if near else ""


def _looks_like(state: Mapping[str, Tensor], name: str, marks: Mapping[str, str], mostly_fits: bool) -> str:
    for kind, mark in marks.items():
        if mark in state:
            return f"; these look like the weights of '{kind}'" if not name.startswith(kind) else ""
    return "; these look like the weights of none of the backbones" if marks and not mostly_fits else ""

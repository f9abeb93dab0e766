"""Official state dicts into our networks, strictly: every key that does not fit is named in one error."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from drlbench.errors import UserError

SHOWN = 5  # keys named per kind of mistake; the rest are counted

# The order official evaluation code would take them in: an EMA copy before the raw weights.
WRAPPERS = ("model_ema1", "ema", "state_dict", "model", "model_ema2")
PREFIXES = ("module.", "_orig_mod.", "net.")

# One key that only this backbone's checkpoints have.
FINGERPRINTS = {
    "jit": "x_embedder.proj1.weight",
    "repa": "projectors.0.0.weight",
    "rae": "s_embedder.proj.weight",
    "rae-autoencoder decoder": "decoder_pred.weight",
    "sit": "blocks.0.attn.qkv.weight",
}


def is_state_dict(value: Any) -> bool:
    """True for a non-empty mapping of names to tensors."""
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


def unwrap(checkpoint: Any, ema: str | None = None, where: str = "checkpoint") -> dict[str, Tensor]:
    """The state dict inside an official checkpoint: raw, {'ema'}, or {'model', 'model_ema1', 'model_ema2', ...}.

    Args:
        checkpoint: what the file held.
        ema: the entry to take ("ema", "model_ema1", ...); None takes the one the official evaluation takes.
        where: what to call the checkpoint in an error.

    Raises:
        UserError: there is no state dict, or not the one asked for.
    """
    if is_state_dict(checkpoint):
        if ema is not None:
            raise UserError(f"{where}: is a bare state dict, it has no entry '{ema}'; leave the EMA choice out")
        return strip_prefixes(checkpoint)
    if not isinstance(checkpoint, Mapping):
        raise UserError(f"{where}: holds a {type(checkpoint).__name__}, not a state dict (names to tensors)")
    if not checkpoint:
        raise UserError(f"{where}: is empty, it holds no weights")
    found = [name for name in WRAPPERS if is_state_dict(checkpoint.get(name))]
    name = ema or next(iter(found), None)
    if name is None or not is_state_dict(checkpoint.get(name)):
        wanted = f"no state dict under '{ema}'" if ema else "no state dict"
        has = ", ".join(repr(str(k)) for k in list(checkpoint)[:10])
        usable = f"; usable: {', '.join(found)}" if found else f"; expected a bare one or one of {', '.join(WRAPPERS)}"
        raise UserError(f"{where}: {wanted} among its entries ({has}){usable}")
    return strip_prefixes(checkpoint[name])


def strip_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop prefixes a training wrapper put before every key (DDP, compile, JiT's denoiser)."""
    out = dict(state)
    stripped = True
    while stripped:
        stripped = False
        for prefix in PREFIXES:
            if all(key.startswith(prefix) for key in out):
                out = {key.removeprefix(prefix): value for key, value in out.items()}
                stripped = True
    return out


def load_strict(
    net: nn.Module,
    state: Mapping[str, Tensor],
    name: str,
    official: Callable[[str], str] = str,
) -> None:
    """Copy `state` into `net`; nothing is loaded unless every key and shape fits and every value is finite.

    Args:
        net: the network, not on the meta device.
        state: official names to tensors.
        name: the backbone's name, for errors.
        official: the official name of one of the network's own keys, where they differ.

    Raises:
        UserError: missing, unexpected or mis-shaped keys, or weights that are not finite numbers.
    """
    own = net.state_dict()
    ours = {official(key): key for key in own}
    expected = {key: own[ours[key]] for key in ours}
    missing = sorted(expected.keys() - state.keys())
    unexpected = sorted(state.keys() - expected.keys())
    shared = [key for key in expected if key in state]
    misshaped = [key for key in shared if state[key].shape != expected[key].shape]
    notes: list[str] = []
    if missing:
        notes.append(f"{len(missing)} missing: {_listed([k + _near(k, unexpected) for k in missing[:SHOWN]], missing)}")
    if unexpected:
        near = [k + _near(k, missing) for k in unexpected[:SHOWN]]
        notes.append(f"{len(unexpected)} unexpected: {_listed(near, unexpected)}")
    if misshaped:
        shapes = [f"{k} is {list(state[k].shape)}, not {list(expected[k].shape)}" for k in misshaped[:SHOWN]]
        notes.append(f"{len(misshaped)} mis-shaped: {_listed(shapes, misshaped)}")
    if notes:
        looks = _looks_like(state, name, mostly_fits=2 * len(shared) > len(expected))
        raise UserError(f"state dict does not fit {name}: {'; '.join(notes)}{looks}")
    bad = [k for k in shared if not _is_finite(state[k])]
    if bad:
        raise UserError(f"state dict for {name}: {len(bad)} tensors hold NaN or infinity: {_listed(bad[:SHOWN], bad)}")
    wrong = [k for k in shared if expected[k].is_floating_point() and not state[k].is_floating_point()]
    if wrong:
        kinds = [f"{k} is {str(state[k].dtype).removeprefix('torch.')}" for k in wrong[:SHOWN]]
        raise UserError(
            f"state dict for {name}: {len(wrong)} weights are no floating-point numbers: {_listed(kinds, wrong)}"
        )
    net.load_state_dict({ours[key]: value for key, value in state.items()})


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _listed(shown: list[str], every: list[str]) -> str:
    more = len(every) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _near(key: str, others: list[str]) -> str:
    near = difflib.get_close_matches(key, others, n=1, cutoff=0.8)
    return f" (nearest: {near[0]})" if near else ""


def _looks_like(state: Mapping[str, Tensor], name: str, mostly_fits: bool) -> str:
    for backbone, key in FINGERPRINTS.items():
        if key in state:
            return f"; these look like the weights of '{backbone}'" if not name.startswith(backbone) else ""
    return "" if mostly_fits else "; these look like the weights of none of the backbones"

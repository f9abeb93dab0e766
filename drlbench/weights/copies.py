"""Which of the networks that a weights file holds is meant: an average before the raw weights, and never in silence.

A training checkpoint nests state dicts ({'model', 'model_ema', ...}), a training module keeps several networks under
prefixes of one state dict (`net.`, `ema_model.`, `vae.`), and wrappers for training in parallel, for compiling or for
recomputing put their own words into the names. All of it is taken apart here, for every network and file alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from drlbench.errors import UserError
from drlbench.weights.strict import listed

# Words that wrappers put anywhere into a name: torch.compile, FSDP, activation checkpoints, fairscale, Lightning.
WRAPPER = re.compile(r"_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_fpw_module|_forward_module")
LEADING = ("module", "model", "net", "base_model", "network")  # words that may stand before every name of a network
AVERAGE = re.compile(r"(?:^|[_\W])(?:ema|ewa|swa|avg|averaged?|polyak|shadow|smoothed)(?:[_\W\d]|$)", re.IGNORECASE)
RAW = re.compile(r"(?:^|_)(?:online|raw|current)(?:_|$)")  # the raw copy that some averages carry inside
OPTIMISER = re.compile(r"^(?:opt|optim|lr_|sched|scaler|grad|loop|rng)", re.IGNORECASE)
COUNTED = "n_averaged"  # torch's AveragedModel counts here, and names the network `module`
DEPTH = 5  # of nested mappings


@dataclass(frozen=True)
class Copy:
    """One network in a file.

    Attributes:
        place: keys of the mappings, and words before the names, that lead to it.
        state: its names, without wrappers, to tensors; empty where a file keeps tensors without names.
        removed: wrappers' words and prefixes that were taken off the names.
        beside: what else lies in the same state dict: prefix -> number of tensors.
    """

    place: tuple[str, ...]
    state: dict[str, Tensor]
    averaged: bool
    removed: tuple[str, ...] = ()
    beside: tuple[tuple[str, int], ...] = ()

    @property
    def name(self) -> str:
        return "/".join(self.place) or ("the average" if self.averaged else "the file's own weights")


@dataclass(frozen=True)
class Chosen:
    """The weights taken, and in words how they were found; empty when there was nothing to choose or remove."""

    state: dict[str, Tensor]
    note: str


def choose(
    content: Any,
    ema: str | bool | None = None,
    where: str = "checkpoint",
    marks: Sequence[str] = (),
    official: Callable[[Mapping[str, Tensor]], str] = lambda _: "",
) -> Chosen:
    """The state dict of the network meant.

    Args:
        content: what the file held.
        ema: the copy's name ("ema", "model_ema1", ...); False takes raw weights; True an average; None the average
            where there is one.
        where: what to call the file in an error.
        marks: names that tell such a network from others, so that it is found under any prefix.
        official: names which of several averages of such weights their authors evaluate; empty when they keep one.

    Raises:
        UserError: there is no state dict, not the one asked for, or several that nothing tells apart.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"{where}: holds a {type(content).__name__}, not a state dict (names to tensors)")
    if not content:
        raise UserError(f"{where}: is empty, it holds no weights")
    found = list(_copies(content, marks))
    taken = _pick(found, ema, where, content, official)
    if not taken.state:
        raise UserError(
            f"{where}: keeps its average '{taken.name}' as tensors without names, so it cannot be put into a network; "
            "save it as a state dict, or take the raw weights with `ema: false`"
        )
    return _completed(taken, found)


def _pick(
    found: list[Copy],
    ema: str | bool | None,
    where: str,
    content: Mapping[Any, Any],
    official: Callable[[Mapping[str, Tensor]], str],
) -> Copy:
    if not found:
        has = ", ".join(repr(str(k)) for k in list(content)[:10])
        raise UserError(f"{where}: no state dict among its entries ({has})")
    averages = [c for c in found if c.averaged]
    raw = [c for c in found if not c.averaged]
    names = ", ".join(c.name for c in found)
    if isinstance(ema, str):
        matching = [c for c in found if ema in (c.name, *c.place)]
        matching = [c for c in matching if c.averaged] or matching
        if not matching and found[0].place == () and len(found) == 1:
            raise UserError(f"{where}: is a bare state dict, it has no entry '{ema}'; leave the EMA choice out")
        if not matching:
            has = ", ".join(repr(str(k)) for k in list(content)[:10])
            raise UserError(f"{where}: no state dict under '{ema}' among its entries ({has}); usable: {names}")
    elif ema is False:
        matching = raw
        if not raw:
            raise UserError(f"{where}: holds no raw weights, only {names}")
        shallow = min(len(c.place) for c in raw)
        matching = [c for c in raw if len(c.place) == shallow]
    else:
        if ema is True and not averages:
            raise UserError(f"{where}: holds no average of the weights, only {names}")
        matching = averages or raw
        theirs = [c for c in averages if official(c.state) in c.place] if len(averages) > 1 else []
        matching = theirs if len(theirs) == 1 else matching
    if len(matching) > 1:
        kind = "averages" if all(c.averaged for c in matching) else "networks"
        first = matching[0].name
        raise UserError(
            f"{where}: holds {len(matching)} {kind} of the weights, {', '.join(c.name for c in matching)}; say "
            f"which, as in `ema: {first}` (--ema {first}), or take raw weights with `ema: false`"
        )
    return matching[0]


def _completed(taken: Copy, found: list[Copy]) -> Chosen:
    """The copy, with what an average leaves out (tensors that are not trained) from the raw weights; and the words."""
    notes = []
    others = [c for c in found if c is not taken]
    if taken.averaged or others:
        what = ", an average of the weights" if taken.averaged else ", raw weights"
        also = f" (the file also holds {', '.join(c.name for c in others)}; `ema` chooses)" if others else ""
        notes.append(f"took {taken.name}{what}{also}")
    if taken.removed:
        notes.append(f"removed {', '.join(map(repr, taken.removed))} from its names")
    state = taken.state
    source = next((c for c in others if not c.averaged and c.state.keys() > state.keys()), None)
    if taken.averaged and source is not None:
        lacking = [name for name in source.state if name not in state]
        state = source.state | state
        notes.append(f"{len(lacking)} tensors that it lacks come from {source.name}: {listed(lacking[:5], lacking)}")
    if taken.beside:
        notes.append("left out " + ", ".join(f"{name} ({count} tensors)" for name, count in taken.beside))
    return Chosen(state, "; ".join(notes))


def _copies(content: Mapping[Any, Any], marks: Sequence[str]) -> Iterator[Copy]:
    # Lightning's averaging callback swaps: its `state_dict` is the average, `current_model_state` the raw weights.
    swapped = "current_model_state" in content and "averaging_state" in content
    for place, tensors in _state_dicts(content):
        if not tensors:
            yield Copy(place, {}, averaged=True)
            continue
        for copy in _split(place, tensors, marks):
            yield replace(copy, averaged=True) if swapped and place == ("state_dict",) else copy


def _state_dicts(content: Mapping[Any, Any], place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every flat table of tensors in nested mappings; an empty one for an average kept as a list."""
    own = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if any(v.ndim > 0 for v in own.values()):
        yield place, own
    for key, value in content.items():
        if not isinstance(key, str) or OPTIMISER.match(key):
            continue
        if isinstance(value, Mapping) and len(place) < DEPTH:
            yield from _state_dicts(value, (*place, key))
        elif isinstance(value, list | tuple) and AVERAGE.search(key) and any(isinstance(v, Tensor) for v in value):
            yield (*place, key), {}


def _split(place: tuple[str, ...], tensors: Mapping[str, Tensor], marks: Sequence[str]) -> Iterator[Copy]:
    """The networks in one state dict: where a mark is found, or told apart by words for averages."""
    words: dict[str, None] = {}
    flat: dict[str, Tensor] = {}
    counted: list[str] = []
    for key, value in tensors.items():
        parts = key.split(".")
        words |= dict.fromkeys(p for p in parts if WRAPPER.fullmatch(p))
        name = ".".join(p for p in parts if not WRAPPER.fullmatch(p))
        if name.rpartition(".")[2] == COUNTED:
            counted.append(name.removesuffix(COUNTED))
        else:
            flat[name] = value
    prefixes = _prefixes(flat, marks)
    for prefix in prefixes:
        state = {
            key.removeprefix(prefix): value
            for key, value in flat.items()
            if key.startswith(prefix) and not any(len(p) > len(prefix) and key.startswith(p) for p in prefixes)
        }
        steps = [step for step in prefix.split(".") if step]
        under = (*place, *(step for step in steps if step != "module"))
        averaged = any(AVERAGE.search(step) for step in under) or any(prefix.startswith(f"{c}module.") for c in counted)
        averaged = averaged and not any(RAW.search(step) for step in under)
        named = under if len(prefixes) > 1 or any(AVERAGE.search(step) for step in steps) else place
        left: dict[str, int] = {}
        for key, value in flat.items():
            if value.ndim > 0 and not any(key.startswith(p) for p in prefixes):
                left[key.partition(".")[0]] = left.get(key.partition(".")[0], 0) + 1
        shadow = _without_dots(state, flat, left) if not averaged else None
        removed = (*([prefix] if prefix else []), *words)
        yield Copy(named, state, averaged, removed, tuple(left.items()))
        if shadow is not None:
            yield Copy((*place, shadow[0]), shadow[1], True, removed)


def _prefixes(flat: Mapping[str, Tensor], marks: Sequence[str]) -> list[str]:
    """Where networks begin: before each mark, or, where none is found, at an average's word and after leading words."""
    marked = {key[: -len(m)] for m in marks for key in flat if key == m or key.endswith(f".{m}")}
    if marked:
        return sorted(marked)
    first = {key.partition(".")[0] for key in flat if "." in key}
    averages = {f"{word}." for word in first if AVERAGE.search(word)}
    starts = averages | ({""} if any(not key.startswith(tuple(averages)) for key in flat) else set())
    return sorted(_led(flat, start, starts) for start in starts)


def _led(flat: Mapping[str, Tensor], start: str, starts: set[str]) -> str:
    """`start`, and any leading words that all its names share."""
    others = tuple(s for s in starts if s and s != start)
    names = [key for key in flat if key.startswith(start) and not (others and key.startswith(others))]
    for word in LEADING * 2:
        longer = f"{start}{word}."
        if all(name.startswith(longer) for name in names):
            start = longer
    return start


def _without_dots(
    state: Mapping[str, Tensor], flat: Mapping[str, Tensor], left: dict[str, int]
) -> tuple[str, dict[str, Tensor]] | None:
    """An average that keeps its names without dots (latent diffusion's LitEma), matched to the raw names."""
    plain = {name.replace(".", ""): name for name in state}
    for word in [w for w in left if AVERAGE.search(w)]:
        names = {key.removeprefix(f"{word}."): key for key in flat if key.startswith(f"{word}.")}
        matched = {plain[n]: flat[key] for n, key in names.items() if n in plain}
        if matched and len(matched) == len([key for key in names.values() if flat[key].ndim > 0]):
            left.pop(word)
            return word, matched
    return None

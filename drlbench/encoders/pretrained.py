"""What networks that come from outside share: loading through transformers, and a card instead of a copy."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from drlbench.errors import IntegrityError, UserError, did_you_mean
from drlbench.store.atomic import write_json
from drlbench.weights.skeleton import skeleton

CONFIG = "config.json"


class FromCard:
    """Mixin for encoders and rewards whose weights stay where they are: a run keeps only how to get them.

    Attributes:
        kind: the registered name.
        settings: keyword arguments of the constructor, plain JSON.
        signature: compared when the card is read back, so that other weights under the same path are noticed.
    """

    kind: ClassVar[str]
    settings: dict[str, Any]
    signature: str

    def save(self, folder: Path) -> None:
        """Write `config.json`; what it says already (a reward's name in the suite) stays."""
        path = folder / CONFIG
        before = json.loads(path.read_text()) if path.is_file() else {}
        write_json(path, {**before, "kind": self.kind, "settings": self.settings, "signature": self.signature})

    @classmethod
    def load(cls, folder: Path, *_: Any) -> Self:
        """Build the same thing again.

        Raises:
            IntegrityError: the card is damaged, or what it leads to is no longer the same.
        """
        try:
            card = json.loads((folder / CONFIG).read_text())
            settings, signature = card["settings"], card["signature"]
        except (OSError, ValueError, KeyError) as error:
            raise IntegrityError(f"{folder / CONFIG}: cannot be read ({error})") from error
        found = cls(**settings)
        if found.signature != signature:
            raise IntegrityError(f"{folder}: was made with {signature}, but that now gives {found.signature}")
        return found


def pick(presets: Mapping[str, Any], name: str, what: str) -> Any:
    """The preset of that name.

    Raises:
        UserError: there is none; the nearest names are given.
    """
    if name not in presets:
        raise UserError(f"unknown {what} preset '{name}'{did_you_mean(name, presets)}; valid: {', '.join(presets)}")
    return presets[name]


@contextmanager
def _quiet() -> Iterator[None]:
    """Loading reports are ours to make: the library's table and progress bar stay off meanwhile."""
    from transformers.utils import logging as library

    logger = logging.getLogger("transformers")
    level, bars = logger.level, library.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    library.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            library.enable_progress_bar()


def untrained_transformers(network: nn.Module) -> nn.Module:
    """A transformers model of the same configuration with the weights its library starts it with."""
    kind: Any = type(network)
    fresh: nn.Module = kind(copy.deepcopy(network.config))
    return fresh


def load_transformers(
    network: type[Any],
    config: Any,
    state: Mapping[str, Tensor],
    where: str,
    ignored: tuple[str, ...] = (),
    **arguments: Any,
) -> nn.Module:
    """A transformers model with exactly these tensors, whatever generation of key names the file uses.

    `ignored` are beginnings or endings of keys that belong to a part this model does not have (a text tower) or that
    it derives itself (position_ids); `arguments` go to the network's constructor.

    Raises:
        UserError: keys are missing or left over, or shapes differ.
    """
    if skeleton():
        built: nn.Module = network(config, **arguments)
        return built
    kept = {k: v for k, v in state.items() if not (ignored and (k.startswith(ignored) or k.endswith(ignored)))}
    try:
        with _quiet():
            model, info = network.from_pretrained(
                None, config=config, state_dict=kept, output_loading_info=True, dtype=torch.float32, **arguments
            )
    except RuntimeError as error:
        raise UserError(f"{where}: the checkpoint does not fit: {error}") from error
    faults = {name: [str(k) for k in info[name]] for name in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if any(faults.values()):
        parts = [
            f"{len(keys)} {name.split('_')[0]} ({', '.join(sorted(keys)[:3])}{', …' if len(keys) > 3 else ''})"
            for name, keys in faults.items()
            if keys
        ]
        raise UserError(f"{where}: the checkpoint does not fit: {'; '.join(parts)}")
    result: nn.Module = model
    return result

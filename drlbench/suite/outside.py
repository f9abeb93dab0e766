"""Names of the outside world in a suite: sizes, checkpoints and autoencoders that stand for nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from drlbench.backbones.checkpoints import assets_of, find
from drlbench.backbones.sizes import resolve
from drlbench.errors import MissingPrerequisite, UserError, shown
from drlbench.suite.parts import BackboneSpec


def outside_faults(backbone: BackboneSpec) -> Iterator[tuple[tuple[str, ...], str]]:
    """The key and what is wrong with it; a path that is not there is no mistake."""
    lookups: list[tuple[str, str | None, Callable[[str], object]]] = [
        ("size", backbone.size, lambda name: resolve(name, [])),
        ("checkpoint", backbone.checkpoint, find),
        ("autoencoder", backbone.autoencoder, lambda name: assets_of(None, name) if "/" not in name else None),
    ]
    for key, name, look_up in lookups:
        try:
            if name is not None:
                look_up(name)
        except MissingPrerequisite:
            continue
        except UserError as error:
            yield (key,), str(error)
        except OSError as error:  # a name too long for a file
            yield (key,), f"{shown(name)}: {error.strerror}"

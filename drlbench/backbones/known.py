"""What families declare about themselves, ours and those of installed packages, as one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from drlbench.errors import UserError
from drlbench.registry import BACKBONES

if TYPE_CHECKING:
    from drlbench.backbones.base import Backbone

T = TypeVar("T")


class Known(Mapping[str, T]):
    """A table of ours, and before it the entries that plug-in backbones declare; their packages are imported on use."""

    def __init__(self, own: Mapping[str, T], declared: Callable[[str, type[Backbone]], Mapping[str, T]]) -> None:
        self.own, self.declared = own, declared

    @cached_property
    def _table(self) -> Mapping[str, T]:
        found: dict[str, T] = {}
        for name in BACKBONES.plugins:
            try:
                kind = BACKBONES.get(name)
            except UserError:
                continue  # told with its reason when a suite names it
            for key, value in self.declared(name, kind).items():
                if key in found or key in self.own:
                    raise UserError(f"plug-in backbone '{name}' declares '{key}', which is taken already")
                found[key] = value
        return {**found, **self.own}

    def __getitem__(self, key: str) -> T:
        return self._table[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

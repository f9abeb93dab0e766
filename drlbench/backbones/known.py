"""What families declare about themselves, ours and those of installed packages, as one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from drlbench.errors import UserError
from drlbench.registry import BACKBONES

if TYPE_CHECKING:
    from drlbench.backbones.base import Backbone

T = TypeVar("T")


class Known(Mapping[str, T]):
    """One attribute of every registered backbone as a table; their modules are imported on first use.

    Entries of plug-ins come before ours. What a family merely inherits from another family is that one's.

    Args:
        attribute: of `Backbone`.
        entries: a family's name and what it declares -> its rows.
        ours: order of our own families.
        beside: rows that are no family's.
    """

    def __init__(
        self,
        attribute: str,
        entries: Callable[[str, Any], Mapping[str, T]],
        ours: Sequence[str] = tuple(BACKBONES.builtin),
        beside: Mapping[str, T] | None = None,
    ) -> None:
        self.attribute, self.entries, self.ours, self.beside = attribute, entries, ours, beside or {}

    @cached_property
    def _table(self) -> Mapping[str, T]:
        found, families = dict(self.beside), _families(self.ours)
        owners = dict.fromkeys(self.beside, "drlbench")
        for name, kind in families.items():
            declared = getattr(kind, self.attribute)
            parents = [parent for parent in kind.__mro__[1:] if parent in families.values()]
            if any(getattr(parent, self.attribute) == declared for parent in parents):
                continue
            for key, value in self.entries(name, declared).items():
                if key in found:
                    added, other = (owners[key], name) if name in self.ours else (name, owners[key])
                    raise UserError(f"plug-in backbone '{added}' declares '{key}', which {other} has already")
                found[key], owners[key] = value, name
        return found

    def __getitem__(self, key: str) -> T:
        return self._table[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


def _families(ours: Sequence[str]) -> dict[str, type[Backbone]]:
    found: dict[str, type[Backbone]] = {}
    for name in BACKBONES.plugins:
        try:
            found[name] = BACKBONES.get(name)
        except UserError:
            continue  # told with its reason when a suite names it
    return found | {name: BACKBONES.get(name) for name in ours}

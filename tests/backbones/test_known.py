"""What families declare: a family built on another has its own entries only, and no name has two owners."""

from __future__ import annotations

from typing import ClassVar

import pytest

from drlbench.backbones.keys import FINGERPRINTS
from drlbench.backbones.known import Known
from drlbench.backbones.sit.network import SiT
from drlbench.errors import UserError
from drlbench.registry import BACKBONES


class Mine(SiT):
    """Another's family on SiT; its sizes are its own, its cards are still SiT's."""

    family: ClassVar[str] = "mine"
    sizes: ClassVar = {"mine-s": {"depth": 2}}


class Clashing(SiT):
    """A family that takes a name of SiT's."""

    family: ClassVar[str] = "clashing"
    sizes: ClassVar = {"sit-s-2": {"depth": 2}}


def table(attribute: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setitem(BACKBONES.builtin, "added", f"{__name__}:{kind}")
    return dict(Known(attribute, lambda name, found: dict.fromkeys(found, name), ours=("sit", "added")))


def test_what_is_inherited_is_the_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = table("sizes", "Mine", monkeypatch)
    assert sizes["sit-s-2"] == "sit"
    assert sizes["mine-s"] == "added"
    assert set(table("cards", "Mine", monkeypatch).values()) == {"sit"}


def test_a_name_with_two_owners_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"declares 'sit-s-2', which .* has already"):
        table("sizes", "Clashing", monkeypatch)


def test_sit_is_told_last() -> None:
    """REPA, JiT and RAE's network have SiT's names too."""
    assert list(FINGERPRINTS)[-1] == "sit"

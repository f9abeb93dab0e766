"""The catalogue of files and what the registered encoders and rewards really ask for."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from drlbench.encoders.clip import PRESETS as CLIPS
from drlbench.encoders.dino import PRESETS as DINOS
from drlbench.encoders.siglip import PRESETS as SIGLIPS
from drlbench.errors import MissingPrerequisite
from drlbench.registry import ENCODERS, REWARDS
from drlbench.weights.catalogue import ASSETS, needed

ENTRIES: list[tuple[Any, str, dict[str, Any]]] = [
    (ENCODERS, "inception-v3", {}),
    *[(ENCODERS, kind, {}) for kind in ("dinov2", "dinov3", "siglip", "clip")],
    *[(ENCODERS, name.split("-")[0], {"preset": name}) for name in (*DINOS, *SIGLIPS, *CLIPS)],
    *[(REWARDS, k, {}) for k in ("imagereward", "pickscore", "hpsv2", "hpsv2.1", "aesthetic-v2.5", "laion-aesthetic")],
    (REWARDS, "hpsv2", {"version": "2.1"}),
    *[(REWARDS, "clipscore", {"convention": c}) for c in ("torchmetrics", "hessel")],
]


@pytest.mark.parametrize(("registry", "kind", "settings"), ENTRIES, ids=lambda x: str(getattr(x, "kind", x)))
def test_what_is_listed_is_what_is_asked_for(
    registry: Any, kind: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def absent(asset: Any, *_: Any) -> None:
        asked.append(asset.name)
        raise MissingPrerequisite(asset.name)

    monkeypatch.setattr("drlbench.encoders.weights.resolve", absent)
    with pytest.raises(MissingPrerequisite):
        registry.get(kind)(**settings)
    listed = [asset.name for asset in needed(kind, settings)]
    assert asked[0] in listed
    assert all(name in ASSETS for name in listed)


def test_a_local_file_is_not_fetched() -> None:
    assert needed("dinov2", {"weights": "x.safetensors"}) == []
    assert [a.name for a in needed("imagereward", {"weights": "x.pt"})] == ["bert-vocabulary"]
    assert [a.name for a in needed("aesthetic-v2.5", {"weights": "x"})] == ["aesthetic-v2.5"]
    assert needed("small-dae", {}) == []


def test_every_file_can_be_described() -> None:
    for name, asset in ASSETS.items():
        assert name == asset.name
        assert asset.size > 0
        assert asset.licence
        assert asset.source.startswith(("https://", "the Python package "))


def test_no_torch() -> None:
    code = "import sys, drlbench.weights.catalogue, drlbench.weights.files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""What a suite needs from outside: which files are here, which are missing, and how they are brought."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drlbench.backbones.cards import CARDS, published_fid
from drlbench.backbones.checkpoints import assets_of
from drlbench.backbones.origin import autoencoder_for
from drlbench.backbones.protocols import REFERENCES
from drlbench.errors import MissingPrerequisite
from drlbench.suite.load import Suite
from drlbench.suite.schema import SuiteSpec
from drlbench.weights.asset import Asset
from drlbench.weights.catalogue import needed
from drlbench.weights.files import cached, command, gate, human_size, resolve

GATED = "asks for an accepted licence and a login"


@dataclass(frozen=True)
class Missing:
    """Something that is not here, for people.

    Attributes:
        used_by: the entries of the suite that need it.
        how: the command that gets it, or what to do `by_hand`.
        checked: what a downloaded file is compared with.
    """

    name: str
    file: str
    size: str
    source: str
    licence: str
    how: str
    used_by: tuple[str, ...]
    gigabytes: float
    by_hand: bool = False
    checked: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        """Four lines: what and how big, from where, on which terms, and how."""
        head = f"  {self.name}: {self.file}, {self.size} (for {', '.join(self.used_by)})"
        checked = f"; {self.checked}" if self.checked else ""
        how = self.how if self.by_hand else f"$ {self.how}"
        return f"{head}\n      from {self.source}\n      licence: {self.licence}{checked}\n      {how}"


def weights_of(spec: SuiteSpec) -> dict[Asset, tuple[str, ...]]:
    """Every file of published weights a suite needs, and the entries that need it.

    Raises:
        UserError: an unknown checkpoint or autoencoder. MissingPrerequisite: a local path that is not there.
    """
    found: dict[Asset, dict[str, None]] = {}
    for user, asset in _uses(spec):
        found.setdefault(asset, {})[user] = None
    return {asset: tuple(users) for asset, users in found.items()}


def _uses(spec: SuiteSpec) -> Iterator[tuple[str, Asset]]:
    for name, backbone in spec.backbones.items():
        if backbone.checkpoint is None:
            continue
        there = backbone.checkpoint in CARDS or Path(backbone.checkpoint).expanduser().exists()
        autoencoder = autoencoder_for(backbone.checkpoint, backbone.size or backbone.family, backbone.autoencoder)
        for asset in assets_of(backbone.checkpoint if there else None, autoencoder):
            yield f"backbone {name}", asset
        if backbone.gate is not None and (card := backbone.gate_card) is not None:
            how = published_fid(card)[2]
            if backbone.gate.statistics is None:
                yield f"gate of {name}", REFERENCES[how.reference]
            if how.guide:
                yield f"gate of {name}", CARDS[how.guide].asset
    for name, encoder in spec.encoders.items():
        for asset in needed(encoder.kind, encoder.settings):
            yield f"encoder {name}", asset
    for name, reward in spec.rewards.items():
        for asset in needed(reward.kind, reward.settings):
            yield f"reward {name}", asset


def missing(suite: Suite) -> list[Missing]:
    """What is not on this machine: weights, local checkpoints and images. Touches no network."""
    found, spec = [], suite.spec
    for asset, users in weights_of(spec).items():
        if cached(asset) is None:
            how = command(asset) + (f"   # {GATED}{gate(asset)}" if asset.gated else "")
            licence = asset.licence or "not stated"
            size = human_size(asset)
            checked = f"sha256 {asset.sha256[:8]}..." if asset.sha256 else "no checksum is known"
            where = (asset.name, asset.filename, size, asset.source, licence, how, users, asset.size / 1e9)
            found.append(Missing(*where, asset.by_hand and not asset.package, checked))
    for name, backbone in spec.backbones.items():
        path = backbone.checkpoint
        if path is not None and path not in CARDS and not Path(path).expanduser().exists():
            how = f"put the file there, or --set backbones.{name}.checkpoint=PATH"
            found.append(Missing(path, path, "size unknown", "you", "yours", how, (f"backbone {name}",), 0.0, True))
        statistics = backbone.gate.statistics if backbone.gate else None
        if statistics is not None and not Path(statistics).expanduser().is_file():
            how = f"put the file there, or --set backbones.{name}.gate.statistics=PATH"
            found.append(
                Missing(statistics, statistics, "size unknown", "you", "yours", how, (f"gate of {name}",), 0.0, True)
            )
    if suite.images.absent is not None:
        found.append(_missing_images(suite, suite.images.absent))
    return found


def _missing_images(suite: Suite, why: MissingPrerequisite) -> Missing:
    """The suite's images, which are not where it says."""
    origin, where = suite.spec.data.origin, str(suite.images.settings.get("path"))
    if origin is None:
        how = f"put the images there, or --set data.path=PATH   # {why}"
        return Missing("images", where, "size unknown", "you", "yours", how, ("data",), 0.0, True)
    size = f"about {origin.gigabytes:g} GB"
    how = f"{origin.command}   # or --set data.path=PATH where you have them"
    return Missing(origin.name, where, size, origin.source, origin.licence, how, ("data",), origin.gigabytes)


def fetch(suite: Suite, tell: Callable[[Asset, float], None]) -> list[str]:
    """Bring every weights file of a suite to the cache.

    Args:
        tell: called with a file and the fraction of it that is here.

    Returns:
        A line per file: its name and where it lies.

    Raises:
        MissingPrerequisite: after everything else was fetched; names each file that could not be.
        IntegrityError: a file is not the one its card describes.
    """
    lines, failures = [], []
    for asset in weights_of(suite.spec):
        try:
            path = resolve(asset, progress=lambda done, asset=asset: tell(asset, done))  # type: ignore[misc] # a default argument
            tell(asset, 1.0)
            lines.append(f"{asset.name}: {path}")
        except MissingPrerequisite as error:
            failures.append(str(error))
    failures += [m.to_text().strip() for m in missing(suite) if m.used_by == ("data",) or m.source == "you"]
    if failures:
        for line in lines:
            print(line, file=sys.stderr)
        raise MissingPrerequisite(
            f"{len(failures)} of {len(failures) + len(lines)} are missing:\n" + "\n".join(failures)
        )
    return lines


def check_ready(suite: Suite, offline: bool) -> None:
    """Refuse a run before any work when something is missing that the run itself cannot fetch.

    Raises:
        MissingPrerequisite: names everything of the kind at once.
    """
    absent = {m.name: m for m in missing(suite)}
    fetchable = set() if offline else {a.name for a in weights_of(suite.spec) if not a.by_hand}
    stuck = [m.to_text() for name, m in absent.items() if name not in fetchable]
    if stuck:
        raise MissingPrerequisite(f"{len(stuck)} things are missing before this can run:\n" + "\n".join(stuck))


def has_gpu() -> bool:
    """Whether an NVIDIA driver is here, as far as can be told without torch."""
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()

"""A finished run's own FID, measured again by drlbench and by its peers: what `drlbench verify RUN --peers` does.

The samples are those of the first cell (the base, as a rule) and the reference is the suite's held-out images, both as
they lie in the store; the run's number for these two sets is `fd_val`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from drlbench.data.images import open_images
from drlbench.errors import IntegrityError, MissingPrerequisite, UserError
from drlbench.evaluate.peers import Comparison, Tell, compare_with_peers
from drlbench.report.rundata import CellKey, read_run
from drlbench.store import atomic
from drlbench.store.layout import Store

HELD_OUT = "held-out images"  # label of the stage that keeps them
RELATIVE = 1e-4  # of an FID measured twice: batch sizes change a feature's last digits


@dataclass(frozen=True)
class OfRun:
    """What was compared.

    Attributes:
        what: cell, guidance and space in words.
        own: the run's `fd_val`, or None where its space prepares images in another way than both peers.
    """

    what: str
    own: float | None
    found: list[Comparison]

    def check(self) -> None:
        """Compare the run's number with the one measured anew.

        Raises:
            IntegrityError: they differ by more than rounding.
        """
        mode = self.what.rpartition("/")[2]
        for c in self.found:
            if self.own is not None and c.mode == mode and abs(c.ours - self.own) > RELATIVE * max(abs(self.own), 1.0):
                raise IntegrityError(f"{self.what}: the run says {self.own:.6f}, its images now give {c.ours:.6f}")


def compare_run(folder: Path, store: Store, tell: Tell) -> OfRun:
    """Measure a run's first cell against its held-out images.

    Raises:
        UserError: no space of the run is Inception's. MissingPrerequisite: the store lacks what the run made.
    """
    run = read_run(folder)
    space = next((s.name for s in run.record.spaces if s.kind == "inception-v3"), None)
    if space is None:
        named = ", ".join(f"{s.name} ({s.kind})" for s in run.record.spaces) or "none"
        raise UserError(f"{folder}: --peers needs a space of kind inception-v3; this run's are: {named}")
    cell = next((c for c in run.record.cells if c.status == "ok"), None)
    if cell is None:
        raise UserError(f"{folder}: no cell of this run is finished")
    guidance = run.record.guidances[0].name
    own = run.row(CellKey(cell.backbone, cell.run, cell.lambda_, cell.seed), guidance, space, "fd_val")
    keys = {label: (kind, key) for kind, key, label in run.record.stages}
    images, reference, encoder = (
        _stage(store, *keys[label]) for label in (f"{cell.id}: samples, {guidance}", HELD_OUT, f"encoder {space}")
    )
    settings = json.loads((encoder / "config.json").read_text())["settings"]
    found = compare_with_peers(open_images(images), open_images(reference), settings.get("weights"), tell=tell)
    what = f"{cell.id}, guidance {guidance}, {space}/{settings.get('variant', 'tf1')}"
    return OfRun(what, None if own is None else own.value, found)


def _stage(store: Store, kind: str, key: str) -> Path:
    place = store.folder(kind, key)
    if not atomic.is_complete(place):
        raise MissingPrerequisite(f"the store {store.root} does not hold this run's {kind}; give --store, or run again")
    atomic.check(place, key)
    return place

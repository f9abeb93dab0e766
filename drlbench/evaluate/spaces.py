"""Spaces that need no download: fitted on the reference images at hand, or taken from a run of a suite.

Shapes: m reference images, H and W height and width, C channels.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drlbench.data.images import ImageSource
from drlbench.encoders.base import Encoder
from drlbench.errors import IntegrityError, MissingPrerequisite, UserError, did_you_mean
from drlbench.registry import ENCODERS
from drlbench.stages.files import load_encoder
from drlbench.store import atomic
from drlbench.store.layout import Store

AT_ONCE = ("pixels", "fourier")  # encoders whose fit is no training: a scale, and frequencies drawn from the seed
LARGEST_PIXELS = 4096  # dimensions; a covariance of more takes minutes and gigabytes
FITTING_BYTES = 400_000_000  # of reference images in float32 that a fit looks at
SEED = 0


@dataclass(frozen=True)
class Fitted:
    """An encoder that is fitted on the reference images of an evaluation."""

    name: str

    def fit(self, reals: ImageSource | None) -> Encoder:
        """The frozen encoder.

        Raises:
            UserError: there are no reference images, or their pixels are too many for a space of their own.
        """
        if reals is None:
            raise UserError(f"'{self.name}' is fitted on the reference, so a reference of images is needed")
        size = int(np.prod(reals.shape))
        if self.name == "pixels" and size > LARGEST_PIXELS:
            raise UserError(
                f"'pixels' of {reals.shape[1]} x {reals.shape[0]} images are {size:,} dimensions, more than "
                f"{LARGEST_PIXELS:,}; take 'fourier', or smaller images"
            )
        room = max(FITTING_BYTES // (4 * size), 2)
        parts, held = [], 0
        for batch in reals.batches():
            parts.append(batch[: room - held])
            held += len(parts[-1])
            if held >= room:
                break
        images = np.concatenate(parts)
        encoder: Encoder = ENCODERS.get(self.name).fit(images, np.zeros(len(images), np.int64), {}, SEED)[0]
        return encoder


def is_of_run(space: str) -> bool:
    """Whether a space is written RUN:NAME."""
    run, colon, _ = space.rpartition(":")
    return bool(colon) and Path(run).expanduser().is_dir()


def encoder_of_run(space: str, store: Path) -> Encoder:
    """The encoder NAME that the run RUN trained or brought, for a space written RUN:NAME.

    Raises:
        UserError: no run there, or it has no encoder of that name. MissingPrerequisite: the store lacks it.
        IntegrityError: it does not match its checksum.
    """
    folder, _, name = space.rpartition(":")
    record = Path(folder).expanduser() / "run.json"
    try:
        stages = json.loads(record.read_text(encoding="utf-8"))["stages"]
        keys = {label.partition(" ")[2]: key for kind, key, label in stages if kind == "encoder"}
    except FileNotFoundError:
        raise UserError(
            f"{folder}: no run here (run.json is missing); give the folder that `drlbench run` wrote"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{record}: is no record of a run ({error})") from error
    if name not in keys:
        raise UserError(f"{folder}: has no encoder {name!r}{did_you_mean(name, keys)}; it has {', '.join(keys)}")
    place = Store(store).folder("encoder", keys[name])
    if not atomic.is_complete(place):
        raise MissingPrerequisite(
            f"{space}: the store {store} does not hold this encoder; give --store, or run the suite again to make it"
        )
    atomic.check(place, keys[name])
    return load_encoder(place)

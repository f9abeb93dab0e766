"""A suite for images, and perhaps weights, of one's own: what it can say is read off them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from drlbench.backbones.cards import AUTOENCODERS, CARDS
from drlbench.backbones.loading import load_network, locate
from drlbench.backbones.sizes import resolve
from drlbench.data.dataset import Dataset
from drlbench.data.sources import read_dataset
from drlbench.errors import MissingPrerequisite, UserError, shown
from drlbench.scaffold.package import rendered
from drlbench.store import atomic
from drlbench.suite.load import load_suite
from drlbench.suite.shipped import shipped_suites

SUFFIXES = {".npz": "npz", ".parquet": "parquet", ".tar": "tar", ".tgz": "tar", ".gz": "tar"}
DEFAULT_SIZE = 64  # pixels, where the images have several sizes and no checkpoint says one
TOKENS = 16  # of a side, at most, for a model trained here
PUBLISHED_FROM = 128  # pixels of a side, from which small encoders fitted here say little
SD_PIXELS = 8  # of a side, for each latent value of an SD-VAE


def new_suite(data: str, checkpoint: str | None, out: Path) -> str:
    """Write a suite that is valid and can be planned at once.

    Args:
        data: a folder, npz, parquet or tar of images, or a pattern of such files.
        checkpoint: a card's name or a weights file; without one a small model is trained on the images.
        out: the YAML file; must not exist.

    Returns:
        What was read off the files, in a sentence.

    Raises:
        UserError: the images or weights cannot be read, or do not belong together. MissingPrerequisite: not there.
    """
    if out.exists():
        raise UserError(f"{shown(out)} is there already; name another file with --out")
    model = _model(checkpoint) if checkpoint is not None else None
    kind = _kind(data)
    images, size = _read(kind, data, model["pixels"] if model else None)
    channels, height, width = images.image_shape
    if height != width:
        raise UserError(f"{shown(data)}: images are {width}x{height}, and networks here take squares; see `data.size`")
    classes = images.num_classes
    if model and model["classes"] != classes:
        raise UserError(f"{shown(checkpoint)} has {model['classes']} classes, and {shown(data)} has {classes}")
    train, held_out = len(images.train_images), len(images.heldout_images)
    found = f"{train:,} train and {held_out:,} held-out images of {channels}x{height}x{width} in {classes} classes"
    published = height >= PUBLISHED_FROM
    words: dict[str, Any] = {
        "schema": shipped_suites()["digits"].with_name("suite.schema.json").as_posix(),
        "file": out.as_posix(),
        "name": _name(data),
        "found": found,
        "kind": kind,
        "path": json.dumps(data),
        "size": size,
        "size_because": "the model's" if model else "they have several sizes; take what suits you",
        "published": published,
        "labelled": classes > 1,
        "classes": classes,
        "family": model["family"] if model else "sit",
        "checkpoint": json.dumps(checkpoint) if checkpoint else None,
        "checkpoint_says": model["says"] if model else "",
        "autoencoder": model["autoencoder"] if model else None,
        "patch": next(p for p in range(1, height + 1) if height % p == 0 and height // p <= TOKENS),
        "width": 64 if height <= TOKENS else 192,
        "depth": 2 if height <= TOKENS else 6,
        "fakes": min(3000, train) if not published else 5000,
        "samples": max(200, min(2000 if not published else 5000, train)),
    }
    atomic.write_text(out, rendered("own-suite.yaml.j2", words))
    load_suite(out)
    return f"{found}; {model['says'] if model else 'a small model will be trained on them'}"


def _kind(data: str) -> str:
    path = Path(data).expanduser()
    if path.is_dir():
        folders = [folder for folder in (path, path / "data") if folder.is_dir()]
        inside = {SUFFIXES.get(p.suffix) for folder in folders for p in folder.iterdir()}
        return next((kind for kind in ("parquet", "tar") if kind in inside), "folder")
    if path.suffix in SUFFIXES:
        return SUFFIXES[path.suffix]
    if not path.exists():
        raise MissingPrerequisite(f"{shown(data)}: nothing lies there")
    raise UserError(f"{shown(data)}: is neither a folder nor one of {', '.join(SUFFIXES)}")


def _read(kind: str, data: str, pixels: int | None) -> tuple[Dataset, int | None]:
    """The images, and the size they are cropped to, where they are."""
    entry: dict[str, Any] = {"kind": kind, "path": data}
    size = pixels if kind != "npz" else None
    try:
        return read_dataset({**entry, "size": size} if size else entry), size
    except UserError as error:
        if size is not None or "set `size`" not in str(error):
            raise
    return read_dataset({**entry, "size": DEFAULT_SIZE}), DEFAULT_SIZE


def _model(checkpoint: str) -> dict[str, Any]:
    """What a card or a weights file says of its network."""
    card = CARDS.get(checkpoint)
    if card is not None:
        family, architecture = resolve(card.size, [])
        autoencoder, side, classes, what = card.autoencoder, architecture["input_size"], 1000, card.size
    else:
        loaded = load_network(locate(checkpoint), None, {})
        family, side, classes = loaded.name, loaded.net.latent_shape[1], loaded.net.num_classes
        channels = loaded.net.latent_shape[0]
        autoencoder = {4: "sd-vae-ft-ema", 768: "rae-dinov2-b-256"}.get(channels, "pixels")
        what = f"{family}, {sum(p.numel() for p in loaded.net.parameters()):,} weights, {channels}x{side}x{side}"
    found = AUTOENCODERS.get(autoencoder)
    pixels = side if found is None else side * SD_PIXELS if found.kind == "sd-vae" else found.pixels
    stated = None if card is not None or autoencoder == "pixels" else autoencoder
    says = f"{what}, {classes} classes, images of {pixels} pixels"
    return {"family": family, "classes": classes, "pixels": pixels, "autoencoder": stated, "says": says}


def _name(data: str) -> str:
    """The data's name as a suite's."""
    stem = re.sub(r"[^A-Za-z0-9._+@-]+", "-", Path(data).resolve().name.split(".")[0]).strip("-._+@")
    return stem[:60] or "my-images"

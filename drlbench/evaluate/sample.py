"""A grid of samples from any checkpoint: what `drlbench sample` does.

Shapes: n images, H and W image height and width, C channels.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from drlbench.backbones import load
from drlbench.backbones.base import PixelRange, VelocityModel
from drlbench.backbones.cards import CARDS
from drlbench.backbones.exported import Sampling, read_exported
from drlbench.backbones.infer import family_of, infer_architecture
from drlbench.backbones.loading import chosen_weights
from drlbench.backbones.sizes import SIZES, default_autoencoder, size_key
from drlbench.errors import UserError
from drlbench.evaluate.export import find_cell
from drlbench.report.rundata import read_run
from drlbench.sampling.generate import generate
from drlbench.sampling.guidance import ClassifierFree
from drlbench.seeds import sample_seeds
from drlbench.stages.files import load_model
from drlbench.store import atomic
from drlbench.store.layout import Store

SHOWN_PIXELS = 128  # smaller images are enlarged to about this, without smoothing


@dataclass(frozen=True)
class Request:
    """What is to be sampled; see `drlbench sample --help`."""

    checkpoint: str
    cell: str | None
    store: Path
    backbone: str | None
    architecture: Sequence[str]
    autoencoder: str | None
    ema: str | bool | None
    n: int
    classes: Sequence[int]
    cfg: float
    interval: tuple[float, float]
    steps: int | None
    sampler: str | None
    precision: str | None
    seed: int
    batch: int
    device: str | None
    out: Path


def sample(request: Request) -> str:
    """Sample, and write the grid; one line that says what was made.

    Raises:
        UserError, MissingPrerequisite, IntegrityError: as `drlbench.backbones.load`; also a class the model lacks.
    """
    if request.out.suffix.lower() != ".png":
        raise UserError(f"--out {request.out}: the grid is a PNG; end it with .png")
    if request.out.parent != Path() and not request.out.parent.is_dir():
        raise UserError(f"--out {request.out}: there is no folder {request.out.parent}")
    with _progress() as bar:
        model, sampling = _load(request, bar)
        _check_pictures(model)
        labels = spread_labels(request.n, request.classes, model.num_classes)
        task = bar.add_task(f"sampling {request.n}", total=1.0)
        images = generate(
            model,
            labels,
            sample_seeds(request.seed, request.n),
            sampler=sampling.sampler,
            steps=sampling.steps,
            guidance=ClassifierFree(request.cfg, *request.interval),
            batch_size=request.batch,
            autocast="bfloat16" if sampling.precision == "bf16" else None,
            device=request.device or ("cuda" if torch.cuda.is_available() else "cpu"),
            progress=lambda done: bar.update(task, completed=done),
        )
    buffer = io.BytesIO()
    grid(images).save(buffer, "PNG")
    atomic.write_bytes(request.out, buffer.getvalue())
    shown = ", ".join(map(str, np.unique(labels)[:8])) + (", ..." if len(np.unique(labels)) > 8 else "")
    height, width = images.shape[1:3]
    return f"{request.out}: {request.n} images of {width} x {height} pixels, classes {shown}"


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on stderr; without a terminal nothing is drawn but the last state of each task."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        yield bar


def _load(request: Request, bar: Progress) -> tuple[VelocityModel, Sampling]:
    """The model, and how to sample it: as asked, else as it was sampled where it was measured, else by Heun."""
    if request.cell is not None:
        run = read_run(Path(request.checkpoint))
        model = load_model(find_cell(run, request.cell, Store(request.store))[1])
        own: Sampling | None = Sampling(**run.record.sampling)
    else:
        model, exported = _load_checkpoint(request, bar), read_exported(request.checkpoint)
        own = exported.sampling if exported else None
    asked = {"sampler": request.sampler, "steps": request.steps, "precision": request.precision}
    if request.sampler not in (None, own.sampler if own else None):
        own = None  # another sampler's steps count otherwise
    return model, (own or Sampling()).model_copy(update={k: v for k, v in asked.items() if v is not None})


def _load_checkpoint(request: Request, bar: Progress) -> VelocityModel:
    given = architecture_of(request.architecture)
    backbone, autoencoder = request.backbone, request.autoencoder
    if backbone is not None and size_key(backbone) in SIZES and request.checkpoint not in CARDS:
        backbone, usual = _size_or_family(Path(request.checkpoint).expanduser(), backbone, request.ema, given)
        autoencoder = autoencoder or usual
    task = bar.add_task(f"loading {Path(request.checkpoint).name}", total=1.0)
    spec = {"backbone": backbone, "architecture": given, "checkpoint": request.checkpoint, "ema": request.ema}
    model = load({**spec, "autoencoder": autoencoder}, progress=lambda done: bar.update(task, completed=done))
    bar.update(task, completed=1.0)
    return model


def architecture_of(given: Sequence[str]) -> dict[str, Any]:
    """Constructor arguments from `key=value` words and JSON files, later ones over earlier ones.

    Raises:
        UserError: neither, or a file that holds no object.
    """
    found: dict[str, Any] = {}
    for word in given:
        name, equals, text = word.partition("=")
        try:
            if equals:
                found[name] = json.loads(text)
                continue
            content = json.loads(Path(word).expanduser().read_text())
        except (OSError, ValueError) as error:
            raise UserError(
                f"--architecture {word}: give key=value (value in JSON) or a JSON file ({error})"
            ) from error
        content = content.get("args", content) if isinstance(content, dict) else content
        if not isinstance(content, dict):
            raise UserError(f"--architecture {word}: holds a {type(content).__name__}, not an object of arguments")
        found |= content
    return found


def _size_or_family(path: Path, backbone: str, ema: str | bool | None, given: dict[str, Any]) -> tuple[str, str | None]:
    """What to load weights as: the official size, or its family when they are of the family but of another size.

    Weights of another size get the official size's autoencoder when their latents have its channels, else pixels.
    """
    family, official = SIZES[size_key(backbone)]
    if not path.exists():
        return backbone, None
    state = chosen_weights(path, ema).state
    if family_of(state) != family:
        return backbone, None  # loading says what they look like
    found = infer_architecture(family, state, given)
    if all(found[name] == official[name] for name in ("hidden_size", "depth", "input_size", "patch_size")):
        return backbone, None
    shape = f"{found['hidden_size']} wide, {found['depth']} deep, for inputs {found['input_size']} wide"
    usual = default_autoencoder(backbone) if found["in_channels"] == official["in_channels"] else "pixels"
    print(f"{path}: not the size of {backbone}: a {family}, {shape} (read off the weights)", file=sys.stderr)
    return family, usual


def _check_pictures(model: VelocityModel) -> None:
    """Refuse to sample what cannot be shown, before the work.

    Raises:
        UserError: latents without the autoencoder that makes images of them.
    """
    channels = model.latent_shape[0]
    if isinstance(model.autoencoder, PixelRange) and channels not in (1, 3):
        raise UserError(
            f"these weights make latents of {channels} channels, not images; give --autoencoder: sd-vae-ft-ema, "
            "rae-dinov2-b-256, or a local folder of an SD-VAE or RAE"
        )


def spread_labels(n: int, classes: Sequence[int], num_classes: int) -> NDArray[np.int64]:
    """Labels (n,) in order: the classes asked for, equally often, or spread evenly over all.

    Raises:
        UserError: a class the model does not have.
    """
    wrong = [c for c in classes if not 0 <= c < num_classes]
    if wrong:
        raise UserError(f"--class {wrong[0]}: this model's classes are 0 to {num_classes - 1}")
    if classes:
        return np.sort(np.asarray(classes, dtype=np.int64)[np.arange(n) % len(classes)])
    return np.arange(n, dtype=np.int64) * num_classes // n if n < num_classes else np.sort(np.arange(n) % num_classes)


def grid(images: NDArray[np.uint8]) -> Image.Image:
    """Images (n, H, W, C) uint8, C 1 or 3, row by row in a near-square grid."""
    n, height, width, channels = images.shape
    columns = ceil(sqrt(n))
    rows = ceil(n / columns)
    canvas = np.zeros((rows * height, columns * width, channels), np.uint8)
    for i, image in enumerate(images):
        y, x = i // columns * height, i % columns * width
        canvas[y : y + height, x : x + width] = image
    picture = Image.fromarray(canvas[..., 0] if channels == 1 else canvas)
    factor = max(1, SHOWN_PIXELS // height)
    return picture.resize((columns * width * factor, rows * height * factor), Image.Resampling.NEAREST)

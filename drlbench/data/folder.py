"""Class folders of image files: `<class>/<image>`, or `train/<class>/<image>` and `val/<class>/<image>`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from drlbench.data.splits import Split
from drlbench.errors import IntegrityError, MissingPrerequisite, UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".gif")
TRAIN, HELD_OUT = ("train", "training"), ("val", "valid", "validation", "test")


class FolderSource:
    """Files below one folder, by name."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.root, self.names = root, names

    def read(self, indices: Sequence[int]) -> list[bytes]:
        """See `drlbench.data.lazy.Source`."""
        try:
            return [(self.root / self.names[index]).read_bytes() for index in indices]
        except OSError as error:
            raise IntegrityError(
                f"{error.filename}: cannot be read ({error.strerror}); it was there at the start"
            ) from error


def open_folder(path: Path, held_out: Path | None = None) -> tuple[Split, Split | None]:
    """The train split and, where the folders give one, the held-out split.

    Args:
        path: class folders, or a folder with train/ and val/ of class folders.
        held_out: class folders of the held-out images, when they lie elsewhere.

    Raises:
        MissingPrerequisite: no such folder. UserError: no images in class folders.
    """
    if not path.is_dir():
        raise MissingPrerequisite(f"{path}: no such folder; images are read from one folder per class inside it")
    inner = {p.name.lower(): p for p in path.iterdir() if p.is_dir()}
    train = next((inner[n] for n in TRAIN if n in inner), None)
    if train is None:
        return _split(path), _split(held_out) if held_out else None
    found = held_out or next((inner[n] for n in HELD_OUT if n in inner), None)
    return _split(train), _split(found) if found else None


def _split(root: Path) -> Split:
    if not root.is_dir():
        raise MissingPrerequisite(f"{root}: no such folder; images are read from one folder per class inside it")
    names: list[str] = []
    labels: list[str] = []
    sizes: list[int] = []
    classes = []
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        found = sorted(_images(folder))
        if found:
            classes.append(folder.name)
        names += [f"{folder.name}/{name}" for name, _ in found]
        sizes += [size for _, size in found]
        labels += [folder.name] * len(found)
    if not names:
        raise UserError(f"{root}: no images in it; they are read from one folder per class ({', '.join(SUFFIXES)})")
    return Split(FolderSource(root, names), labels, sizes, tuple(classes), str(root))


def _images(folder: Path) -> Iterator[tuple[str, int]]:
    """Path below the folder and bytes of every image file."""
    for place, _, files in os.walk(folder):
        for name in files:
            if name.lower().endswith(SUFFIXES):
                path = os.path.join(place, name)
                yield Path(os.path.relpath(path, folder)).as_posix(), os.stat(path).st_size

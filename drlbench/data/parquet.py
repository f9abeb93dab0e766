"""Datasets in parquet files as the Hugging Face hub keeps them: an image column {bytes, path} and a label column."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from drlbench.data.dataset import Dataset, Images, Labels, split_dataset
from drlbench.data.pictures import stack
from drlbench.errors import MissingPrerequisite, UserError, did_you_mean

IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img"), ("label", "fine_label", "labels")
ROWS = 256


def load_parquet(
    path: Path,
    heldout_path: Path | None = None,
    heldout_fraction: float = 0.2,
    size: int | None = None,
    grey: bool = False,
    image_column: str | None = None,
    label_column: str | None = None,
    class_names: Sequence[str] | None = None,
) -> Dataset:
    """Read a Dataset from a parquet file or a folder of them (in name order).

    Args:
        heldout_path: the held-out split's file or folder; without it, `path` is split by content.
        size: crop every picture to this size (see `pictures.centre_crop`).
        image_column, label_column: where the hub's usual names do not fit.
        class_names: instead of those in the file's own Hugging Face metadata; numbers where there are neither.

    Raises:
        MissingPrerequisite: no such file. UserError: not parquet, no such column, or not pictures and labels.
    """
    files = parquet_files(path)
    images, labels = _read(files, size, grey, image_column, label_column)
    if heldout_path is None:
        held: tuple[Images, Labels] | None = None
        classes = int(labels.max()) + 1
    else:
        held = _read(parquet_files(heldout_path), size, grey, image_column, label_column)
        classes = int(max(labels.max(), held[1].max())) + 1
    named = class_names or _names_in_metadata(files[0], label_column) or [str(index) for index in range(classes)]
    if held is None:
        return split_dataset(path.stem, images, labels, named, heldout_fraction)
    return Dataset(path.stem, images, labels, *held, tuple(named))


def parquet_files(path: Path) -> list[Path]:
    """The file itself, or a folder's parquet files.

    Raises:
        MissingPrerequisite: there is none.
    """
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise MissingPrerequisite(f"{path}: no parquet file here")
    return files


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{file}: is not a parquet file ({error})") from error


def _column(file: Path, schema: pa.Schema, asked: str | None, usual: Sequence[str], what: str) -> str:
    names: list[str] = schema.names
    for name in [asked] if asked else usual:
        if name in names:
            return name
    wanted = asked or " or ".join(usual)
    raise UserError(
        f"{file}: has no {what} column {wanted!r}{did_you_mean(asked or usual[0], names)}; it has {', '.join(names)}"
    )


def _read(
    files: list[Path], size: int | None, grey: bool, image_column: str | None, label_column: str | None
) -> tuple[Images, Labels]:
    schema = _open(files[0]).schema_arrow
    image = _column(files[0], schema, image_column, IMAGE_COLUMNS, "image")
    label = _column(files[0], schema, label_column, LABEL_COLUMNS, "label")
    if not pa.types.is_struct(schema.field(image).type) or "bytes" not in [f.name for f in schema.field(image).type]:
        raise UserError(f"{files[0]}: column {image!r} is {schema.field(image).type}; struct<bytes, path> is needed")
    if not pa.types.is_integer(schema.field(label).type):
        raise UserError(f"{files[0]}: column {label!r} is {schema.field(label).type}; whole numbers are needed")
    labels: list[int] = []

    def pictures() -> Iterator[tuple[str, bytes]]:
        for file in files:
            for batch in _open(file).iter_batches(ROWS, columns=[image, label]):
                for row in batch.to_pylist():
                    labels.append(row[label])
                    yield f"{file}, row {len(labels) - 1}", row[image]["bytes"]

    count = sum(_open(file).metadata.num_rows for file in files)
    images = stack(pictures(), count, size, grey, str(files[0]))
    return images, np.array(labels, dtype=np.int64)


def _names_in_metadata(file: Path, label_column: str | None) -> list[str] | None:
    schema = _open(file).schema_arrow
    label = _column(file, schema, label_column, LABEL_COLUMNS, "label")
    try:
        record: dict[str, Any] = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = record["info"]["features"][label]["names"]
    except (ValueError, KeyError, TypeError):
        return None
    return [str(name) for name in names]

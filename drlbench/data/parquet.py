"""Parquet as the Hugging Face Hub keeps images: a column of {bytes, path} and a column of labels."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from drlbench.data.splits import Split
from drlbench.errors import IntegrityError, MissingPrerequisite, UserError, did_you_mean

LABELS = ("label", "labels", "fine_label", "y", "cls", "class")
FOOTER = 8  # bytes: length of the metadata, and the magic word


class ParquetSource:
    """Rows of several files in order; each row group is opened once per call."""

    def __init__(self, files: Sequence[Path], column: str, counts: Sequence[Sequence[int]]) -> None:
        self.files, self.column = files, column
        self.groups = [(f, g) for f, groups in enumerate(counts) for g in range(len(groups))]
        flat = [n for groups in counts for n in groups]
        self.starts = np.concatenate([[0], np.cumsum(flat)])  # (groups + 1,) first row of each
        self.names = [f"{files[f].name}#{row}" for f, groups in enumerate(counts) for row in range(sum(groups))]

    def read(self, indices: Sequence[int]) -> list[bytes]:
        """See `drlbench.data.lazy.Source`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = np.asarray(indices)
        group_of = np.searchsorted(self.starts, rows, side="right") - 1
        found: dict[int, bytes] = {}
        for group in np.unique(group_of):
            file, number = self.groups[group]
            try:
                with pq.ParquetFile(self.files[file]) as table:
                    column = table.read_row_group(number, columns=[self.column]).column(0)
            except (pa.ArrowException, OSError) as error:
                raise IntegrityError(f"{self.files[file]}: not readable parquet ({error})") from error
            for row in rows[group_of == group].tolist():
                value = column[row - int(self.starts[group])].as_py()
                content = value.get("bytes") if isinstance(value, dict) else value
                if not content:
                    raise UserError(
                        f"{self.names[row]}: holds no image bytes, only a path; save the data set with the images in it"
                    )
                found[row] = content
        return [found[row] for row in rows.tolist()]


def open_parquet(pattern: str, image: str | None = None, label: str | None = None) -> Split:
    """Look into one file, a folder of files, or files named by a pattern with `*`.

    Args:
        image, label: columns; by default the first one with encoded images, and the first of `LABELS`.

    Raises:
        MissingPrerequisite: there is no such file. IntegrityError: a file is damaged. UserError: no such columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = _files(pattern)
    seal = hashlib.sha256()
    labels: list[Any] = []
    counts, sizes = [], []
    column = names = None
    for path in files:
        try:
            with pq.ParquetFile(path) as table:
                schema, meta = table.schema_arrow, table.metadata
                if column is None:
                    column, label = _columns(str(path), schema, image, label)
                    names = _class_names(schema, label)
                labels += table.read(columns=[label]).column(0).to_pylist()
            counts.append([meta.row_group(g).num_rows for g in range(meta.num_row_groups)])
        except (pa.ArrowException, OSError, KeyError) as error:
            raise IntegrityError(f"{path}: is not a parquet file, or is unlike {files[0].name} ({error})") from error
        sizes.append(path.stat().st_size)
        seal.update(_footer(path))
    if any(value is None for value in labels):
        raise UserError(f"{pattern}: row {labels.index(None)} has no label")
    assert column is not None
    classes = names or (() if labels and isinstance(labels[0], str) else _numbered(labels))
    if labels and isinstance(labels[0], str):
        classes = tuple(sorted(set(labels)))
    return Split(ParquetSource(files, column, counts), labels, sizes, classes, pattern, seal.hexdigest())


def _files(pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    if path.is_dir():
        path = path / "*.parquet"
    files = [Path(p) for p in sorted(glob.glob(str(path)))]
    if not files:
        raise MissingPrerequisite(f"{path}: no parquet file here")
    return files


def _columns(where: str, schema: Any, image: str | None, label: str | None) -> tuple[str, str]:
    import pyarrow as pa

    encoded = [f.name for f in schema if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    encoded += [f.name for f in schema if pa.types.is_binary(f.type) or pa.types.is_large_binary(f.type)]
    image = image or next(iter(encoded), None)
    label = label or next((name for name in LABELS if name in schema.names), None)
    for name, setting, usual in ((image, "image_column", "image"), (label, "label_column", "label")):
        if name is None or name not in schema.names:
            wanted = name or usual
            raise UserError(
                f"{where}: has no column {wanted!r}{did_you_mean(wanted, schema.names)}; it has "
                f"{', '.join(schema.names)}; name the right one as `{setting}`"
            )
    if image not in encoded:
        raise UserError(f"{where}: column {image!r} holds {schema.field(image).type}, not encoded images")
    return str(image), str(label)


def _class_names(schema: Any, label: str) -> tuple[str, ...] | None:
    """The names that the `datasets` library keeps in the schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (KeyError, ValueError, TypeError):
        return None
    return tuple(map(str, names))


def _numbered(labels: Sequence[Any]) -> tuple[str, ...]:
    return tuple(str(k) for k in range(max(map(int, labels), default=-1) + 1))


def _footer(path: Path) -> bytes:
    """The metadata at the file's end: row counts, offsets and sizes of every column chunk."""
    with path.open("rb") as file:
        file.seek(-FOOTER, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-FOOTER - min(length, path.stat().st_size - FOOTER), 2)
        return file.read(length)

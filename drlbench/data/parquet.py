"""Parquet as the Hugging Face Hub keeps images: a column of {bytes, path} and a column of labels.

Rows that hold a path instead of bytes are read beside their file; a path that leaves its folder is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from drlbench.data.account import Account
from drlbench.data.classes import Labels, check_count, ordered
from drlbench.data.listing import files_of
from drlbench.data.partition import choose
from drlbench.data.splits import Split
from drlbench.errors import IntegrityError, MissingPrerequisite, UserError, did_you_mean

IMAGES = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "pixels")
PATHS = (*IMAGES, "file_name", "path", "image_path", "file")
LABELS = ("label", "labels", "fine_label", "y", "cls", "class", "target", "class_label", "category")
METADATA = "metadata.parquet"  # captions and the like of pictures that lie beside it
FOOTER = 8  # bytes: length of the metadata, and the magic word
EXPANSION = 200  # a row group that is this many times larger unpacked, and over this many bytes, is no data set
LARGE = 200_000_000


class ParquetSource:
    """Rows of several files in order; the row group read last is kept."""

    def __init__(self, files: Sequence[Path], column: str, counts: Sequence[Sequence[int]]) -> None:
        self.files, self.column = files, column
        self.groups = [(f, g) for f, groups in enumerate(counts) for g in range(len(groups))]
        flat = [n for groups in counts for n in groups]
        self.starts = np.concatenate([[0], np.cumsum(flat)]).astype(np.int64)  # (groups + 1,) first row of each
        self.names = [f"{files[f].name}#{row}" for f, groups in enumerate(counts) for row in range(sum(groups))]
        self._last: tuple[int, Any] = (-1, None)

    def read(self, indices: Sequence[int]) -> list[bytes]:
        """See `drlbench.data.splits.Source`."""
        rows = np.asarray(indices)
        group_of = np.searchsorted(self.starts, rows, side="right") - 1
        found: dict[int, bytes] = {}
        for group in np.unique(group_of):
            column = self._column(int(group))
            for row in rows[group_of == group].tolist():
                try:
                    value = column[row - int(self.starts[group])].as_py()
                except (ValueError, IndexError) as error:
                    raise IntegrityError(f"{self.place(row)}: damaged ({error})") from error
                found[row] = self._content(row, value)
        return [found[row] for row in rows.tolist()]

    def place(self, index: int) -> str:
        """See `drlbench.data.splits.Source`."""
        group = int(np.searchsorted(self.starts, index, side="right")) - 1
        return f"{self.files[self.groups[group][0]]} row {self.names[index].rpartition('#')[2]}"

    def _column(self, group: int) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._last[0] != group:
            file, number = self.groups[group]
            try:
                with pq.ParquetFile(self.files[file]) as table:
                    self._last = group, table.read_row_group(number, columns=[self.column]).column(0)
            except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
                raise IntegrityError(f"{self.files[file]}: not readable parquet ({error})") from error
        return self._last[1]

    def _content(self, row: int, value: Any) -> bytes:
        content = value.get("bytes") if isinstance(value, dict) else value
        if content and not isinstance(content, str):
            return bytes(content)
        path = value.get("path") if isinstance(value, dict) else value
        if not path:
            raise UserError(f"{self.place(row)}: holds no image (no bytes and no path)")
        relative = PurePosixPath(str(path))
        folder = self.files[self.groups[int(np.searchsorted(self.starts, row, side="right")) - 1][0]].parent
        if not relative.is_absolute() and ".." not in relative.parts:
            for place in (folder / relative, folder.parent / relative):
                if place.is_file():
                    return place.read_bytes()
        raise UserError(
            f"{self.place(row)}: holds no image bytes, only the path {str(path)!r}, and no such file lies beside the "
            "parquet file; save the data set with the images in it"
        )


def open_parquet(pattern: str, image: str | None = None, label: str | None = None) -> Split:
    """The images of one file, a folder of files, or files named by a pattern; of several splits, the train split.

    Raises:
        As `parquet_splits`.
    """
    return parquet_splits(pattern, image, label, holding_out=False)[0]


def parquet_splits(
    pattern: str, image: str | None = None, label: str | None = None, holding_out: bool = True
) -> tuple[Split, Split | None]:
    """The train split and, where the files' names tell one and it is wanted, the held-out split.

    Args:
        image, label: columns; by default the first of `IMAGES` or else the first with encoded images, and the first
            of `LABELS`.

    Raises:
        MissingPrerequisite: there is no such file. IntegrityError: a file is damaged. UserError: no such columns,
            columns that differ between files, or splits that are ambiguous.
    """
    root, names = files_of(pattern, ".parquet", "parquet")
    kept = [name for name in names if PurePosixPath(name).name != METADATA] or names
    account = Account(pattern)
    choice = choose(kept, str(root), ".parquet", named=not Path(pattern).expanduser().is_dir())
    if told := choice.sentence(holding_out):
        account.note(told)
    first = _read([root / kept[k] for k in choice.train], pattern, account, image, label)
    if not (choice.held_out and holding_out):
        return first, None
    aside = f"{pattern}, {choice.aside} split"
    return first, _read([root / kept[k] for k in choice.held_out], aside, account, image, label)


def _read(files: Sequence[Path], where: str, account: Account, image: str | None, label: str | None) -> Split:
    import pyarrow as pa
    import pyarrow.parquet as pq

    seal = hashlib.sha256()
    labels: list[Any] = []
    counts, sizes = [], []
    column: str | None = None
    schema: Any = None
    for path in files:
        try:
            with pq.ParquetFile(path) as table:
                meta = table.metadata
                if schema is None:
                    schema = table.schema_arrow
                    column, label = _columns(str(path), schema, image, label, account)
                else:
                    _same_columns(files[0], schema, path, table.schema_arrow, [column, label])
                _check_expansion(path, meta)
                groups = [meta.row_group(g).num_rows for g in range(meta.num_row_groups)]
                if label is not None:
                    found = table.read(columns=[label]).column(0).to_pylist()
                    labels += found
                rows = sum(groups) if label is None else len(found)
                if sum(groups) != rows or min(groups, default=0) < 0 or rows > path.stat().st_size * EXPANSION:
                    raise IntegrityError(f"{path}: its footer speaks of {sum(groups)} rows, which are not there")
            counts.append(groups)
            sizes.append(path.stat().st_size)
            seal.update(_footer(path))
        except (pa.ArrowException, OSError, KeyError, ValueError, MemoryError, OverflowError) as error:
            raise IntegrityError(f"{path}: is not readable parquet ({error})") from error
    assert column is not None
    source = ParquetSource(files, column, counts)
    if not source.names:
        raise UserError(f"{where}: holds no rows")
    account.use(len(source.names))
    if label is None:
        account.note(f"no column of labels is known ({', '.join(schema.names)}); a suite names one as `label_column`")
    names = _class_names(schema, label) if label is not None else None
    numbers, classes = _labels(labels, names, where, account) if label is not None else (None, ())
    indexed = not (labels and isinstance(labels[0], str))
    return Split(source, numbers, sizes, classes, where, account, indexed, seal.hexdigest())


def _labels(
    values: list[Any], names: tuple[str, ...] | None, where: str, account: Account
) -> tuple[Labels | None, tuple[str, ...]]:
    """Class indices (N,) and names; None with a note where a row has no label."""
    for row, value in enumerate(values):
        if isinstance(value, float) and math.isfinite(value) and value == int(value):
            values[row] = int(value)
        elif (isinstance(value, float) and not math.isnan(value)) or isinstance(value, (list, dict, bytes)):
            raise UserError(f"{where}: row {row} has the label {str(value)[:40]}, which is no class")
        elif isinstance(value, float):
            raise UserError(f"{where}: row {row} has the label {value}, which is no class")
    missing = [row for row, value in enumerate(values) if value is None or value == -1]
    if missing:
        account.note(f"{len(missing)} of {len(values)} rows have no label (row {missing[0]}), so none is used")
        return None, ()
    if isinstance(values[0], str):
        classes = ordered([str(value) for value in values])
        order = {name: index for index, name in enumerate(classes)}
        return np.array([order[str(value)] for value in values], dtype=np.int64), classes
    lowest, highest = min(map(int, values)), max(map(int, values))
    check_count(where, highest)
    if lowest < 0 or (names and highest >= len(names)):
        allowed = f", but the file names {len(names)} classes" if names else ""
        raise UserError(f"{where}: labels run from {lowest} to {highest}{allowed}")
    return np.array(values, dtype=np.int64), names or ()


def _columns(where: str, schema: Any, image: str | None, label: str | None, account: Account) -> tuple[str, str | None]:
    import pyarrow as pa

    def text(kind: Any) -> bool:
        return pa.types.is_string(kind) or pa.types.is_large_string(kind)

    encoded = encoded_columns(schema)
    paths = [f.name for f in schema if text(f.type) and f.name in PATHS]
    for name, setting in ((image, "image_column"), (label, "label_column")):
        if name is not None and name not in schema.names:
            raise UserError(
                f"{where}: has no column {name!r}{did_you_mean(name, schema.names)}; it has "
                f"{', '.join(schema.names)}; name the right one as `{setting}`"
            )
    if image is not None and image not in encoded + paths:
        raise UserError(f"{where}: column {image!r} holds {schema.field(image).type}, not encoded images")
    if image is None:
        if not encoded + paths:
            raise UserError(f"{where}: no column of encoded images; columns: {', '.join(schema.names)}")
        image = next((name for name in IMAGES if name in encoded), (encoded or paths)[0])
        if len(encoded) > 1:
            account.note(
                f"images are taken from the column {image!r} (others: {', '.join(sorted(set(encoded) - {image}))})"
            )
    return image, label or next((name for name in LABELS if name in schema.names and name != image), None)


def _same_columns(first: Path, schema: Any, path: Path, other: Any, columns: Sequence[str | None]) -> None:
    """Refuse a file whose columns are not those of the first."""
    for name in columns:
        if name is not None and (name not in other.names or other.field(name).type != schema.field(name).type):
            has = f"it is {other.field(name).type}" if name in other.names else f"it has {', '.join(other.names)}"
            raise UserError(
                f"{path}: {first.name} has a column {name!r} of {schema.field(name).type}, here {has}; files of one "
                "data set have the same columns"
            )


def _check_expansion(path: Path, meta: Any) -> None:
    for number in range(meta.num_row_groups):
        # Of the whole group: asking for a column's own size ends the process where its statistics are damaged.
        unpacked = meta.row_group(number).total_byte_size
        if unpacked > LARGE and unpacked > EXPANSION * path.stat().st_size:
            raise IntegrityError(
                f"{path}: {path.stat().st_size} bytes that unpack to {unpacked / 1e9:.1f} GB; it is not read"
            )


def _class_names(schema: Any, label: str) -> tuple[str, ...] | None:
    """The names that the `datasets` library keeps in the schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) else None


def _footer(path: Path) -> bytes:
    """The metadata at the file's end: row counts, offsets and sizes of every column chunk."""
    with path.open("rb") as file:
        file.seek(-FOOTER, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-FOOTER - min(length, path.stat().st_size - FOOTER), 2)
        return file.read(length)


def pictures_in(folder: Path) -> list[str]:
    """Parquet files below a folder that are a data set: not metadata of pictures, and with a column of encoded ones."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        root, names = files_of(str(folder), ".parquet", "parquet")
    except MissingPrerequisite:
        return []
    found = []
    for name in names:
        try:
            encoded = PurePosixPath(name).name != METADATA and encoded_columns(pq.read_schema(root / name))
        except (pa.ArrowException, OSError, ValueError, MemoryError):
            encoded = [name]  # damaged, which its reader tells
        if encoded:
            found.append(name)
    return found


def encoded_columns(schema: Any) -> list[str]:
    """Columns of {bytes, path}, then those of plain bytes."""
    import pyarrow as pa

    structs = [f.name for f in schema if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    plain = [f.name for f in schema if pa.types.is_binary(f.type) or pa.types.is_large_binary(f.type)]
    return structs + plain

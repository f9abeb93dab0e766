"""Images in parquet, as the Hugging Face Hub keeps data sets.

Shapes: n images, H and W height and width, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drlbench.errors import IntegrityError, UserError
from drlbench.features.decode import DECODE_BATCH, Images, decode, stack

Labels = NDArray[np.int64]
LABEL_KEYS = ("labels", "label", "y")


@dataclass(frozen=True)
class ParquetImages:
    """Encoded images in parquet as the Hugging Face Hub keeps them: a struct {bytes, path} or plain bytes."""

    files: tuple[Path, ...]
    column: str
    n: int
    shape: tuple[int, int, int]
    labels: Labels | None
    where: str

    def batches(self) -> Iterator[Images]:
        """All images."""
        done = 0
        for contents in _parquet_rows(self.files, self.column):
            names = [f"{self.where} row {done + i}" for i in range(len(contents))]
            images = [decode(content, name) for content, name in zip(contents, names, strict=True)]
            done += len(contents)
            yield stack(images, names, self.shape, f"{self.where} row 0")


def _parquet_rows(files: tuple[Path, ...], column: str) -> Iterator[list[bytes]]:
    import pyarrow.parquet as pq

    for path in files:
        with pq.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=DECODE_BATCH, columns=[column]):
                rows = batch.column(0).to_pylist()
                yield [(row.get("bytes") if isinstance(row, dict) else row) or b"" for row in rows]


def open_parquet(path: Path) -> ParquetImages:
    """Look into a parquet file, or a folder of parquet files in the order of their names.

    Raises:
        IntegrityError: not whole. UserError: no column of encoded images.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = tuple(sorted(path.glob("*.parquet"))) if path.is_dir() else (path,)
    try:
        schema = pq.read_schema(files[0])
        n = sum(pq.read_metadata(f).num_rows for f in files)
        column = next(
            (f.name for f in schema if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0), None
        ) or next((f.name for f in schema if pa.types.is_binary(f.type) or pa.types.is_large_binary(f.type)), None)
        if column is None or not n:
            raise UserError(f"{path}: no rows with encoded images; columns: {', '.join(schema.names)}")
        label_key = next((k for k in LABEL_KEYS if k in schema.names), None)
        labels = None
        if label_key is not None and pa.types.is_integer(schema.field(label_key).type):
            found = [pq.read_table(f, columns=[label_key]).column(0).to_numpy() for f in files]
            labels = np.concatenate(found).astype(np.int64)
        first = next(_parquet_rows(files, column))[0]
    except (pa.ArrowException, OSError, StopIteration) as error:
        raise IntegrityError(f"{path}: not readable parquet ({error})") from error
    return ParquetImages(files, column, n, decode(first, f"{path} row 0").shape, labels, str(path))

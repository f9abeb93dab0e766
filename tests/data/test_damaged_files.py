"""Damaged files of every kind through every reader: a result or one message, never a traceback."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from picture_files import pictures, png, write_tar

from drlbench.data.images import open_images
from drlbench.data.sources import fingerprint, load_dataset
from drlbench.errors import UserError
from drlbench.features.moments import Moments
from drlbench.features.reference import is_statistics, read_reference

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what load_dataset tells


def make(kind: str, path: Path) -> None:
    if kind == "parquet":
        rows = [{"bytes": png(i), "path": f"{i}.png"} for i in range(6)]
        pq.write_table(pa.table({"image": rows, "label": [0, 1] * 3}), path)
    elif kind == "tar":
        write_tar(path, {f"{i}.png": png(i) for i in range(4)} | {f"{i}.cls": str(i % 2).encode() for i in range(4)})
    elif kind == "npz":
        np.savez(path, images=pictures(8), labels=np.arange(8) % 2, class_names=np.array(["a", "b"]))
    elif kind == "npy":
        np.save(path, pictures(8))
    elif kind == "pkl":
        path.write_bytes(pickle.dumps({"fid": {"mu": np.zeros(3), "sigma": np.eye(3)}, "num_images": 5}))
    elif kind == "pt":
        torch.save({"mu": torch.zeros(3), "sigma": torch.eye(3)}, path)
    else:
        Moments(np.zeros(3), np.eye(3), 5, {}).save(path)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    held, place = bytearray(content), int(rng.integers(len(content)))
    how = rng.integers(4)
    if how == 0:
        held[place] = rng.integers(256)
    elif how == 1:
        held = held[:place]
    elif how == 2:
        held[place:place] = rng.bytes(9)
    else:
        held[place : place + 8] = b"\xff" * 8
    return bytes(held)


@pytest.mark.parametrize("kind", ["parquet", "tar", "npz", "npy", "pkl", "pt", "safetensors"])
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    make(kind, path)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    spec: dict[str, Any] = {"kind": kind, "path": str(path), "held_out": 0.34}
    doors: list[Any] = [lambda: list(open_images(path).batches())]
    if kind in ("parquet", "tar", "npz"):
        doors += [lambda: fingerprint(spec), lambda: load_dataset(spec)]
    elif kind != "npy":
        doors = [lambda: read_reference(path), lambda: is_statistics(path)]
    refused = 0
    for _ in range(60):
        path.write_bytes(damaged(content, rng))
        for door in doors:
            try:
                door()
            except UserError as error:
                refused += 1
                assert "object at 0x" not in str(error)
    assert refused > 10

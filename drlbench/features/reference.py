"""Reference statistics as the field publishes them, under the name of the file they come from.

The ImageNet statistics of ADM and of JiT differ, and so do the FIDs against them: a reference is never anonymous.

| file | holds |
|---|---|
| ADM `VIRTUAL_*.npz` | mu, sigma (pool3, 2048), mu_s, sigma_s (spatial, 2023), arr_0 (10,000 images) |
| JiT, pytorch-fid, clean-fid, EDM `*.npz` | mu, sigma |
| others' `*.npz` | mean and cov (or covariance), m and s |
| clean-fid `*_kid.npz`, dgm-eval, drlbench `features.npz` | feats, reps or features (n, D) |
| `*.npy` | features (n, D) |
| torch-fidelity's cache and others' `*.pt`, `*.pth` | the same names, read without unpickling objects |
| EDM2 `*.pkl` | {fid, fd_dinov2: {mu, sigma}, num_images}, read without unpickling |
| drlbench `*.safetensors` | mean, covariance, n, provenance |

Shapes: n samples, D dimensions.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drlbench.data.arrays import EXPANSION, LARGE, open_npy, open_npz
from drlbench.errors import IntegrityError, UserError, did_you_mean
from drlbench.features.moments import Moments
from drlbench.store.atomic import file_sha256
from drlbench.weights.opcodes import read_tables

# Key pairs of mean and covariance, and the space they stand for; the first that is there counts.
PAIRS = (
    ("fid", "mu", "sigma"), ("spatial", "mu_s", "sigma_s"), ("fid", "mean", "cov"), ("fid", "mean", "covariance"),
    ("fid", "m", "s"),
)  # fmt: skip
FEATURE_KEYS = ("feats", "features", "reps")
KNOWN = {key for _, *pair in PAIRS for key in pair} | {"num_images", "n", *FEATURE_KEYS}
ZIP = b"PK\3\4"
LARGEST = 1_000_000_000  # bytes of a pickle; ADM's moments are 67 MB


@dataclass(frozen=True)
class Reference:
    """One statistics file.

    Attributes:
        name: the file's name without suffix, printed beside every number against it.
        sha256: of the file.
        moments: space of the file (fid, spatial, fd_dinov2, ...) -> moments; n is 0 where the file does not say.
        features: (n, D) if the file holds features instead.
    """

    name: str
    sha256: str
    moments: Mapping[str, Moments] = field(default_factory=dict)
    features: NDArray[np.floating[Any]] | None = None

    def space(self, name: str) -> Moments:
        """The moments of one space.

        Raises:
            UserError: the file has no such space.
        """
        if name not in self.moments:
            raise UserError(
                f"reference '{self.name}' has no space '{name}'{did_you_mean(name, self.moments)}; "
                f"it holds: {', '.join(self.moments) or 'features only'}"
            )
        return self.moments[name]


def read_reference(path: Path | str) -> Reference:
    """Read a statistics file of any of the known kinds.

    Raises:
        UserError: no such file, or nothing known inside. IntegrityError: damaged, or holding more than numbers.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"{path}: no such statistics file")
    digest = file_sha256(path)
    if path.suffix == ".safetensors":
        moments = Moments.load(path)
        return Reference(path.stem, digest, {moments.provenance.get("space", "fid"): moments})
    if path.suffix == ".npy":
        return Reference(path.stem, digest, {}, _features(path, open_npy(path)))
    tables = _tables(path)
    provenance = {"file": path.name, "sha256": digest}
    found: dict[str, Moments] = {}
    number = _number(tables.get("num_images", tables.get("n", 0)))
    for space, mean, covariance in PAIRS:
        if mean in tables and covariance in tables and space not in found:
            found[space] = _moments(path, space, tables[mean], tables[covariance], number, provenance)
    for name, table in tables.items():
        if isinstance(table, Mapping):
            for _, mean, covariance in PAIRS:
                if {mean, covariance} <= table.keys() and name not in found:
                    found[str(name)] = _moments(path, name, table[mean], table[covariance], number, provenance)
    features = next((_features(path, tables[key]) for key in FEATURE_KEYS if tables.get(key) is not None), None)
    if not found and features is None:
        raise UserError(
            f"{path}: no statistics inside (it holds {', '.join(map(str, tables)) or 'nothing'}); known are mu and "
            f"sigma, mean and cov, m and s, mu_s and sigma_s, features (also feats, reps), and tables of them"
        )
    return Reference(path.stem, digest, found, features)


def holds_statistics(path: Path) -> bool:
    """Whether an npz has entries that `read_reference` knows; False for one that is not readable at all."""
    try:
        with open_npz(path) as archive:
            pairs = any({mean, covariance} <= set(archive.names) for _, mean, covariance in PAIRS)
            return pairs or bool({"sigma", *FEATURE_KEYS} & set(archive.names))
    except IntegrityError:
        return False


def is_statistics(path: Path) -> bool:
    """Whether a file is one of statistics by its ending, or by what it holds."""
    if path.suffix in (".safetensors", ".pkl", ".pickle", ".pt", ".pth"):
        return True
    if not path.is_file():
        return False
    if path.suffix == ".npy":
        array = open_npy(path)
        return array.ndim == 2 and array.dtype.kind == "f"
    return path.suffix == ".npz" and holds_statistics(path)


def _features(path: Path, value: Any) -> NDArray[np.floating[Any]]:
    features = _array(path, value)
    if features.ndim != 2 or features.dtype.kind not in "fiu" or not features.size:
        raise UserError(f"{path}: features of shape {features.shape} and dtype {features.dtype}; need a numeric (n, D)")
    if not np.isfinite(features).all():
        bad = int(np.flatnonzero(~np.isfinite(features).all(1))[0])
        raise IntegrityError(f"{path}: the features of row {bad} hold NaN or infinity")
    return features


def _array(path: Path, value: Any) -> NDArray[Any]:
    """An array of numbers; lists inside lists may stand for any number of them, so they are not taken for one."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        found = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise IntegrityError(f"{path}: holds {found} where an array of numbers is expected")
    return value


def _number(value: Any) -> int:
    array = np.asarray(value) if isinstance(value, (int, float, np.ndarray, np.generic)) else np.zeros(0)
    return int(array.reshape(-1)[0]) if array.size == 1 and array.dtype.kind in "iu" else 0


def _moments(path: Path, space: str, mean: Any, covariance: Any, n: int, provenance: Mapping[str, str]) -> Moments:
    mu = _array(path, mean).astype(np.float64).reshape(-1)
    sigma = _array(path, covariance).astype(np.float64)
    if sigma.shape != (mu.size, mu.size) or not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise IntegrityError(
            f"{path}: {space}: mu {mu.shape} and sigma {sigma.shape} are not finite moments of one space"
        )
    stored = {"mean_dtype": str(np.asarray(mean).dtype), "covariance_dtype": str(np.asarray(covariance).dtype)}
    return Moments(mu, sigma, n, {**provenance, **stored, "space": space})


def _tables(path: Path) -> dict[str, Any]:
    """What a file holds by name: arrays, numbers, and tables of them; None stands for what is not looked at."""
    with path.open("rb") as file:
        zipped = file.read(len(ZIP)) == ZIP
    if not zipped:
        return _table(path, read_tables(_content(path), str(path)))
    with open_npz(path, "npz of numbers") as archive:
        pickled = [name for name in archive.file.namelist() if name.endswith("data.pkl")]
        if not pickled:
            # ADM's file also holds 2 GB of images, which are none of our business here.
            return {name: archive.read(name) if name in KNOWN else None for name in archive.names}
        entry = archive.file.getinfo(pickled[0])
        if entry.file_size > min(LARGEST, max(LARGE, EXPANSION * entry.compress_size)):
            raise IntegrityError(f"{path}: its data.pkl unpacks to {entry.file_size:,} bytes; it is not read")
        return _table(path, read_tables(archive.file.read(pickled[0]), str(path), _Storages(archive.file, pickled[0])))


class _Storages:
    """The tensors' bytes of a torch file, beside its data.pkl."""

    def __init__(self, file: zipfile.ZipFile, pickled: str) -> None:
        self.file, self.folder = file, pickled.removesuffix("data.pkl")

    def __call__(self, key: str, length: int) -> bytes:
        """The first bytes of one storage."""
        entry = self.file.getinfo(f"{self.folder}data/{key}")
        if length > entry.file_size:
            raise ValueError(f"a tensor of {length:,} bytes in a storage of {entry.file_size:,}")
        if length > LARGE and length > EXPANSION * entry.compress_size:
            raise ValueError(f"a tensor of {length:,} bytes packed into {entry.compress_size:,}")
        with self.file.open(entry) as stream:
            return stream.read(length)


def _content(path: Path) -> bytes:
    if path.stat().st_size > LARGEST:
        raise IntegrityError(f"{path}: is over {LARGEST // 10**9} GB; a table of statistics is smaller")
    return path.read_bytes()


def _table(path: Path, tables: Any) -> dict[str, Any]:
    if isinstance(tables, np.ndarray) and tables.ndim == 2:
        return {"features": tables}
    if not isinstance(tables, dict):
        raise UserError(f"{path}: holds a {type(tables).__name__}, not a table of statistics")
    return tables

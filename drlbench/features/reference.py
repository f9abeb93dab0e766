"""Reference statistics as the field publishes them, under the name of the file they come from.

The ImageNet statistics of ADM and of JiT differ, and so do the FIDs against them: a reference is never anonymous.

| file | holds |
|---|---|
| ADM `VIRTUAL_*.npz` | mu, sigma (pool3, 2048), mu_s, sigma_s (spatial, 2023), arr_0 (10,000 images) |
| JiT, pytorch-fid, clean-fid, EDM `*.npz` | mu, sigma |
| clean-fid `*_kid.npz`, drlbench `features.npz` | feats or features (n, D) |
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

from drlbench.errors import IntegrityError, UserError, did_you_mean
from drlbench.features.moments import Moments
from drlbench.features.opcodes import read_tables
from drlbench.store.atomic import file_sha256

# Key pairs of mean and covariance, and the space they stand for.
PAIRS = {"fid": ("mu", "sigma"), "spatial": ("mu_s", "sigma_s")}
FEATURE_KEYS = ("feats", "features")


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
    tables = _npz(path) if zipfile.is_zipfile(path) else _pickle(path)
    provenance = {"file": path.name, "sha256": digest}
    found: dict[str, Moments] = {}
    number = _number(tables.get("num_images", tables.get("n", 0)))
    for space, (mean, covariance) in PAIRS.items():
        if mean in tables and covariance in tables:
            found[space] = _moments(path, space, tables[mean], tables[covariance], number, provenance)
    for space, table in tables.items():
        if isinstance(table, Mapping) and {"mu", "sigma"} <= table.keys():
            found[space] = _moments(path, space, table["mu"], table["sigma"], number, provenance)
    features = next((np.asarray(tables[key]) for key in FEATURE_KEYS if key in tables), None)
    if features is not None and (features.ndim != 2 or features.dtype.kind not in "fiu"):
        raise UserError(f"{path}: features of shape {features.shape} and dtype {features.dtype}; need a numeric (n, D)")
    if not found and features is None:
        raise UserError(
            f"{path}: no statistics inside (it holds {', '.join(map(str, tables)) or 'nothing'}); known are mu and "
            f"sigma, mu_s and sigma_s, features, and tables of them"
        )
    return Reference(path.stem, digest, found, features)


def holds_statistics(path: Path) -> bool:
    """Whether an npz has entries that `read_reference` knows; False for one that is not readable at all."""
    known = {key for pair in PAIRS.values() for key in pair} | set(FEATURE_KEYS)
    try:
        with np.load(path, allow_pickle=False) as file:
            return bool(known & set(file.files))
    except (zipfile.BadZipFile, EOFError, OSError, ValueError):
        return False


def _number(value: Any) -> int:
    array = np.asarray(value)
    return int(array) if array.size == 1 and array.dtype.kind in "iuf" else 0


def _moments(path: Path, space: str, mean: Any, covariance: Any, n: int, provenance: Mapping[str, str]) -> Moments:
    mu = np.asarray(mean, dtype=np.float64).reshape(-1)
    sigma = np.asarray(covariance, dtype=np.float64)
    if sigma.shape != (mu.size, mu.size) or not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise IntegrityError(
            f"{path}: {space}: mu {mu.shape} and sigma {sigma.shape} are not finite moments of one space"
        )
    stored = {"mean_dtype": str(np.asarray(mean).dtype), "covariance_dtype": str(np.asarray(covariance).dtype)}
    return Moments(mu, sigma, n, {**provenance, **stored, "space": space})


def _npz(path: Path) -> dict[str, Any]:
    wanted = {key for pair in PAIRS.values() for key in pair} | {"num_images", "n", *FEATURE_KEYS}
    try:
        with np.load(path, allow_pickle=False) as file:
            # ADM's file also holds 2 GB of images, which are none of our business here.
            found = {key: file[key] for key in file.files if key in wanted}
            return found or dict.fromkeys(file.files)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise IntegrityError(f"{path}: not a readable npz of numbers ({error})") from error


def _pickle(path: Path) -> dict[str, Any]:
    tables = read_tables(path.read_bytes(), str(path))
    if not isinstance(tables, dict):
        raise UserError(f"{path}: holds a {type(tables).__name__}, not a table of statistics")
    return tables


def convert_reference(source: Path | str, out: Path, space: str = "fid") -> Path:
    """Keep one space of a foreign statistics file as safetensors with provenance; later reads need no conversion."""
    read_reference(source).space(space).save(out)
    return out

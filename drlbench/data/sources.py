"""A suite's `data` entry to a `Dataset`, and the fingerprint that keys every result made from it."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drlbench.data.kinds import KINDS, PLACES
from drlbench.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from drlbench.data.account import Account
    from drlbench.data.dataset import Dataset
    from drlbench.data.splits import Split

__all__ = ["PLACES", "check_data", "fingerprint", "load_dataset", "read_dataset", "survey"]

READ_IN_PLACE = ("folder", "parquet", "tar")
LOOKED_AT = 500  # pictures of a split, in a survey
DECODING = 2  # of drlbench.data.decode: rises when the policy gives other pixels for some file
EAGER_BYTES = 2_000_000_000  # decoded images up to this are held in memory, more are decoded when asked for

# The splits that the latest fingerprint was made from: listing archives of 150 GB twice takes minutes.
_opened: dict[str, tuple[Split, Split | None]] = {}


def check_data(spec: Mapping[str, Any]) -> None:
    """Refuse settings that the kind does not take.

    Raises:
        UserError: names the setting and the valid ones.
    """
    valid = KINDS[spec["kind"]]
    for name, value in spec.items():
        if name in ("kind", "fingerprint"):
            continue
        if name not in valid:
            listed = ", ".join(valid) or "none"
            near = did_you_mean(name, valid)
            raise UserError(f"data kind {spec['kind']!r} takes no setting {name!r}{near}; valid: {listed}")
        fits, wanted = valid[name]
        if not fits(value):
            raise UserError(f"data setting {name!r} must be {wanted}, not {value!r}")
    if "shape" in valid and "shape" not in spec:
        raise UserError(f"data kind {spec['kind']!r} needs `shape`, {valid['shape'][1]}")
    if "path" in valid and "path" not in spec:
        raise UserError(f"data kind {spec['kind']!r} needs `path`, where the images are")
    if "held_out" in spec and "held_out_path" in spec:
        raise UserError(
            "data: give `held_out_path` (images of their own) or `held_out` (a fraction of these), not both"
        )


def load_dataset(spec: Mapping[str, Any]) -> Dataset:
    """The images that a suite's `data` entry names, such as {"kind": "folder", "path": "pets", "size": 64}.

    Images are uint8 (N, H, W, C) with labels int64 (N,), in a train and a held-out split. Data of more than
    `EAGER_BYTES` come as `LazyImages`, which are decoded when they are asked for. What was skipped, chosen or bent is
    told by `warnings.warn`; the counts are `Dataset.accounts`.

    Raises:
        UserError: the files are not what the kind expects. MissingPrerequisite: they are not there.
    """
    data = read_dataset(spec)
    for account in data.accounts:
        for text in account.remarks():
            warnings.warn(text, stacklevel=2)
    return data


def read_dataset(spec: Mapping[str, Any]) -> Dataset:
    """`load_dataset` without a word, for the stages of a run: the run itself says it once, at its start."""
    check_data(spec)
    return _load(_text(spec))


def fingerprint(spec: Mapping[str, Any]) -> str:
    """Hex sha256 that stands for the images in every key.

    digits, npz, toy: over pixels, labels, class names and split. folder, parquet, tar: over names, sizes and labels of
    the files, the parquet footers and the settings, so that 150 GB need not be read; see `Split.fingerprint`.

    Raises:
        As `load_dataset`.
    """
    check_data(spec)
    if spec["kind"] not in READ_IN_PLACE:
        return read_dataset(spec).sha256
    splits = _open(spec)
    _opened.clear()
    _opened[_text(spec)] = splits
    return _sealed(spec, splits)


def survey(spec: Mapping[str, Any]) -> list[Account]:
    """What became of the files that a suite's `data` entry names, with its classes matched and some pictures decoded.

    At most `LOOKED_AT` pictures of each split are decoded, evenly spaced, so that what the decoding policy bends is
    counted, and what it refuses is refused before any work. Arrays (npz) and embedded data have no account.

    Raises:
        As `load_dataset`.
    """
    check_data(spec)
    if spec["kind"] not in READ_IN_PLACE:
        return []
    from drlbench.data.decode import open_picture
    from drlbench.data.encoded import numbering

    train, held_out = _opened.get(_text(spec)) or _open(spec)
    numbering(spec, train, held_out)
    found: list[Account] = []
    for split in (train, held_out):
        if split is None:
            continue
        count = len(split.source.names)
        for row in sorted({k * count // LOOKED_AT for k in range(LOOKED_AT)} if count > LOOKED_AT else range(count)):
            open_picture(split.source.read([row])[0], split.source.place(row), split.account)
            split.account.looked += 1
        if not any(split.account is account for account in found):
            found.append(split.account)
    return found


def _text(spec: Mapping[str, Any]) -> str:
    return json.dumps({k: v for k, v in spec.items() if k != "fingerprint"}, sort_keys=True)


def _sealed(spec: Mapping[str, Any], splits: tuple[Split, Split | None]) -> str:
    digest = hashlib.sha256()
    for split in splits:
        digest.update(split.fingerprint() if split else b"none")
    settings = {k: v for k, v in spec.items() if k not in (*PLACES, "fingerprint")}
    digest.update(json.dumps({**settings, "decoding": DECODING}, sort_keys=True).encode())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _load(text: str) -> Dataset:
    spec = json.loads(text)
    if spec["kind"] == "digits":
        from drlbench.data.digits import digits

        return digits()
    if spec["kind"] == "toy":
        from drlbench.data.toy import toy

        return toy(spec["shape"], spec.get("points", 2000))
    if spec["kind"] == "npz":
        from drlbench.data.npz import load_npz

        return load_npz(Path(spec["path"]).expanduser(), spec)
    from drlbench.data.encoded import dataset_of

    splits = _open(spec)
    return dataset_of(spec, *splits, fingerprint=_sealed(spec, splits), eager_bytes=EAGER_BYTES)


def _open(spec: Mapping[str, Any]) -> tuple[Split, Split | None]:
    """The train split, and the held-out one where it has a path of its own or the files' names tell."""
    elsewhere = spec.get("held_out_path")
    if elsewhere is not None:
        return _splits(spec, spec["path"], False)[0], _splits(spec, elsewhere, False)[0]
    train, held_out = _splits(spec, spec["path"], True)
    if held_out is not None and "held_out" in spec:
        raise UserError(
            f"{spec['path']}: has a split of its own to hold out, so `held_out` (a fraction of the train images) is "
            "not taken as well; leave it out, or name the train images alone as `path`"
        )
    return train, held_out


def _splits(spec: Mapping[str, Any], path: str, holding_out: bool) -> tuple[Split, Split | None]:
    if spec["kind"] == "folder":
        from drlbench.data.folder import folder_splits

        return folder_splits(Path(path).expanduser(), holding_out)
    if spec["kind"] == "parquet":
        from drlbench.data.parquet import parquet_splits

        return parquet_splits(path, spec.get("image_column"), spec.get("label_column"), holding_out)
    from drlbench.data.tar import tar_splits

    return tar_splits(path, holding_out)

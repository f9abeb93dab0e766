"""Folders of image files: flat, `<class>/<image>`, and either of them below train/, validation/, test/.

Splits follow the Hub's conventions (`drlbench.data.partition`); the class is the first folder that is no split.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from drlbench.data.account import Account
from drlbench.data.classes import ordered
from drlbench.data.listing import pictures_below
from drlbench.data.partition import WORDS, choose, split_of
from drlbench.data.splits import Split
from drlbench.errors import IntegrityError, MissingPrerequisite, UserError

OUTSIDE = "outside the folders of classes or splits"
_EXACT = {word for words in WORDS.values() for word in words}


class FolderSource:
    """Files below one folder, by name."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.root, self.names = root, names

    def read(self, indices: Sequence[int]) -> list[bytes]:
        """See `drlbench.data.splits.Source`."""
        try:
            return [(self.root / self.names[index]).read_bytes() for index in indices]
        except OSError as error:
            raise IntegrityError(
                f"{error.filename}: cannot be read ({error.strerror}); it was there at the start"
            ) from error

    def place(self, index: int) -> str:
        """See `drlbench.data.splits.Source`."""
        return str(self.root / self.names[index])


def open_folder(root: Path) -> Split:
    """The images of a folder; of several splits, the train split.

    Raises:
        As `folder_splits`.
    """
    return folder_splits(root, holding_out=False)[0]


def folder_splits(root: Path, holding_out: bool = True) -> tuple[Split, Split | None]:
    """The train split and, where the folders' names tell one and it is wanted, the held-out split.

    Raises:
        MissingPrerequisite: no such folder. UserError: no images in it, or splits that are ambiguous.
    """
    if not root.is_dir():
        what = "is a file" if root.is_file() else "no such folder"
        raise MissingPrerequisite(f"{root}: {what}; images are read from a folder, one folder per class inside it")
    account = Account(str(root))
    names, sizes = pictures_below(root, account)
    if not names:
        found = "".join(f"; {n} {r} ({account.examples[r]})" for r, n in account.skipped.items())
        raise UserError(
            f"{root}: no images in it (.png, .jpg, .webp and the like, one folder per class or alone){found}"
        )
    level, base = _levels(root, names)
    if level is None:
        account.use(len(names))
        return _split(root, names, sizes, range(len(names)), base, account), None
    if level < 0:  # the files' own names speak of splits
        choice = choose([name.rsplit("/", 1)[-1] for name in names], str(root), "", named=True)
        inside = list(range(len(names)))
    else:
        inside = [k for k, name in enumerate(names) if name.count("/") > level]
        for k in set(range(len(names))) - set(inside):
            account.skip(OUTSIDE, names[k])
        parts = [f"{names[k].split('/')[level]}/x" for k in inside]
        choice = choose(parts, str(root), "", named=True)
    if told := choice.sentence(holding_out):
        account.note(told)
    train = [inside[k] for k in choice.train]
    held = [inside[k] for k in choice.held_out] if holding_out else []
    account.use(len(train) + len(held))
    account.seen += len(inside) - len(train) - len(held)
    without = {level} if level >= 0 else set()
    first = _split(root, names, sizes, train, base, account, without)
    return first, _split(root, names, sizes, held, base, account, without) if held else None


def _levels(root: Path, names: Sequence[str]) -> tuple[int | None, int]:
    """At which depth the folders are splits (None: nowhere, -1: the files' names are), and at which classes start.

    Raises:
        UserError: folders of splits beside others.
    """
    base = _wrappers(names)
    nested = [name.split("/") for name in names if name.count("/") > base]
    for level in (base, base + 1):
        folders = {parts[level] for parts in nested if len(parts) > level + 1}
        below = [parts for parts in nested if len(parts) > level + 1]
        if not folders or (level > base and len(below) < len(names)):
            continue
        splits = {split_of(folder) for folder in folders}
        if None not in splits and (len(splits) > 1 or folders <= {f for f in folders if f.lower() in _EXACT}):
            return level, base
        if level == base:
            _refuse_mixed(root, below, base)
    files = (name.rsplit("/", 1)[-1] for name in names)
    first = split_of(next(files))
    named = first is not None and all(split_of(file) is not None for file in files)
    return (-1 if named and any(split_of(name.rsplit("/", 1)[-1]) != first for name in names) else None), base


def _wrappers(names: Sequence[str]) -> int:
    """How many folders everything lies in before classes or splits begin: `data`, and what an archive unpacks to."""
    base = 0
    while True:
        parts = [name.split("/") for name in names]
        first = {p[base] for p in parts if len(p) > base + 1}
        if len(first) != 1 or any(len(p) < base + 2 for p in parts):
            return base
        name = next(iter(first))
        if name.lower() in _EXACT or (name != "data" and any(len(p) < base + 3 for p in parts)):
            return base
        base += 1


def _refuse_mixed(root: Path, nested: Sequence[Sequence[str]], base: int) -> None:
    """Raise UserError where a folder named as a split holds class folders and stands beside other folders."""
    deep = {parts[base] for parts in nested if len(parts) > base + 2}
    splits = [folder for folder in sorted(deep) if folder.lower() in _EXACT]
    others = sorted({parts[base] for parts in nested} - set(splits))
    if splits and others:
        raise UserError(
            f"{root}: {splits[0]}/ is a split's name and {others[0]}/ is none; name the folder that is meant: "
            f"`{root / splits[0]}` or `{root / others[0]}`"
        )


def _split(
    root: Path,
    names: Sequence[str],
    sizes: Sequence[int],
    rows: Sequence[int],
    base: int,
    account: Account,
    without: set[int] = frozenset(),  # type: ignore[assignment] # an empty set that nobody changes
) -> Split:
    """The images of some rows; classes are the first folders that remain without the split's."""
    kept = [names[k] for k in rows]
    folders = [[f for d, f in enumerate(name.split("/")[:-1]) if d >= base and d not in without] for name in kept]
    classes: tuple[str, ...] = ()
    labels = None
    if all(folders):
        classes = ordered([f[0] for f in folders])
        order = {name: index for index, name in enumerate(classes)}
        labels = np.array([order[f[0]] for f in folders], dtype=np.int64)
    elif any(folders):
        outside = next(name for name, f in zip(kept, folders, strict=True) if not f)
        account.note(f"folders are not taken as classes, because some images lie outside them ({outside})")
    return Split(FolderSource(root, kept), labels, [sizes[k] for k in rows], classes, str(root), account)

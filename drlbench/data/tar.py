"""Images inside tar files, read in place: class folders, tar files of classes, or webdataset shards.

<class>/<image>                     class folders
<class>.tar holding <image>         as ImageNet's own ILSVRC2012_img_train.tar
<key>.jpg with <key>.cls or .json   webdataset: the key ends at the first dot of the base name; the label is the number
                                    in .cls, or else "label" (or "cls", "class") in .json
"""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from drlbench.data.account import Account
from drlbench.data.classes import check_count, ordered
from drlbench.data.decode import suffixes
from drlbench.data.listing import files_of, junk
from drlbench.data.partition import choose
from drlbench.data.splits import Split
from drlbench.errors import IntegrityError, UserError

SIDE_FILES = ("cls", "json")
LABEL_KEYS = ("label", "cls", "class")
LONGEST_HEADER = 1 << 20  # bytes: a name or a record of attributes; what says it is longer lies
LONGEST_SIDE_FILE = 1 << 24
LINKED = "links or special members of the archive"
OTHER = "not pictures by their names"


@dataclass(frozen=True)
class Member:
    """One stored file: its name, which archive, and where its bytes lie there."""

    name: str
    archive: int
    offset: int
    size: int

    @property
    def key(self) -> str:
        """What files of one webdataset sample share: folder, and base name up to its first dot."""
        folder, _, base = self.name.rpartition("/")
        return f"{self.archive}/{folder}/{base.partition('.')[0]}"

    @property
    def extension(self) -> str:
        """All after the first dot of the base name, in lower case."""
        return self.name.rpartition("/")[2].partition(".")[2].lower()


class TarSource:
    """Members of several archives, each read at its offset; nothing is unpacked."""

    def __init__(self, files: Sequence[Path], members: Sequence[Member]) -> None:
        self.files, self.members = files, members
        self.names = [f"{files[m.archive].name}/{m.name}" for m in members]
        self._open: dict[int, IO[bytes]] = {}
        self._lock = threading.Lock()

    def read(self, indices: Sequence[int]) -> list[bytes]:
        """See `drlbench.data.splits.Source`."""
        with self._lock:
            return [self.content(self.members[index]) for index in indices]

    def place(self, index: int) -> str:
        """See `drlbench.data.splits.Source`."""
        return f"{self.files[self.members[index].archive]}: {self.members[index].name}"

    def content(self, member: Member) -> bytes:
        """The bytes of one member.

        Raises:
            IntegrityError: the archive ends before them.
        """
        if member.archive not in self._open:
            self._open[member.archive] = self.files[member.archive].open("rb")
        file = self._open[member.archive]
        length = file.seek(0, io.SEEK_END)
        if not 0 <= member.offset <= member.offset + member.size <= length:
            raise IntegrityError(f"{self.files[member.archive]}: ends inside {member.name}; fetch it again")
        file.seek(member.offset)
        return file.read(member.size)


def open_tar(pattern: str) -> Split:
    """The images of one archive, a folder of them, or those named by a pattern; of several splits, the train split.

    Raises:
        As `tar_splits`.
    """
    return tar_splits(pattern, holding_out=False)[0]


def tar_splits(pattern: str, holding_out: bool = True) -> tuple[Split, Split | None]:
    """The train split and, where the archives' names tell one and it is wanted, the held-out split.

    Only headers and labels are read.

    Raises:
        MissingPrerequisite: no such file. IntegrityError: a truncated or compressed archive. UserError: no images, or
        splits that are ambiguous.
    """
    root, names = files_of(pattern, ".tar", "tar")
    account = Account(pattern)
    choice = choose(names, str(root), ".tar", named=not Path(pattern).expanduser().is_dir())
    if told := choice.sentence(holding_out):
        account.note(told)
    first = _read([root / names[k] for k in choice.train], pattern, account)
    if not (choice.held_out and holding_out):
        return first, None
    aside = f"{pattern}, {choice.aside} split"
    return first, _read([root / names[k] for k in choice.held_out], aside, account)


def _read(files: Sequence[Path], where: str, account: Account) -> Split:
    images: list[Member] = []
    sides: dict[str, dict[str, Member]] = {}
    for number, path in enumerate(files):
        for member in _members(path, number, account):
            parts = PurePosixPath(member.name).parts
            last = member.extension.rpartition(".")[2]
            if (reason := next(filter(None, map(junk, parts)), None)) is not None:
                account.skip(reason, member.name)
            elif f".{last}" in suffixes():
                images.append(member)
            elif last in SIDE_FILES:
                sides.setdefault(member.key, {})[last] = member
            else:
                account.skip(OTHER, member.name)
    if not images:
        raise UserError(f"{where}: no images inside (.png, .jpg, .webp and the like)")
    images.sort(key=lambda m: (m.archive, m.name))
    if sides:
        images = _one_per_key(images, files)
    account.use(len(images))
    source = TarSource(files, images)
    labels = [_label(source, member, sides.get(member.key, {})) for member in images]
    sizes = [m.size for m in images]
    absent = next((m.name for m, found in zip(images, labels, strict=True) if found is None), None)
    if absent is not None:
        account.note(
            f"{absent} has no label: no class folder or inner tar around it, no .cls or .json with a label beside it; "
            "so none is used"
        )
        return Split(source, None, sizes, (), where, account, indexed=True)
    if len({isinstance(found, int) for found in labels}) > 1:
        raise UserError(f"{where}: some labels are numbers and some are class folders; use one kind")
    if isinstance(labels[0], int):
        numbers = [int(found) for found in labels if found is not None]
        check_count(where, max(numbers))
        if min(numbers) < 0:
            raise UserError(f"{where}: a label is {min(numbers)}; class indices start at 0")
        return Split(source, np.array(numbers, dtype=np.int64), sizes, (), where, account, indexed=True)
    classes = ordered([str(found) for found in labels])
    order = {name: index for index, name in enumerate(classes)}
    return Split(
        source, np.array([order[str(found)] for found in labels], dtype=np.int64), sizes, classes, where, account
    )


def _one_per_key(images: Sequence[Member], files: Sequence[Path]) -> list[Member]:
    """One image of each sample: the one whose extension is an image's alone, or the only one.

    Raises:
        UserError: a sample has several.
    """
    found: dict[str, list[Member]] = {}
    for member in images:
        found.setdefault(member.key, []).append(member)
    chosen = []
    for members in found.values():
        plain = [m for m in members if "." not in m.extension] or members
        if len(plain) > 1:
            sample = plain[0].key.partition("/")[2].lstrip("/")
            raise UserError(
                f"{files[plain[0].archive]}: the sample {sample} has several images "
                f"({', '.join(m.extension for m in plain)}); keep one of them in the shards"
            )
        chosen += plain
    return chosen


class _Honest(io.FileIO):
    """A file that reads no more at once than a header may be: tarfile asks for, and allocates, what a header claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        """As a file's, but for what no header can need.

        Raises:
            tarfile.ReadError: it was asked for.
        """
        if size is None or not 0 <= size <= LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return super().read(size)


def _members(path: Path, number: int, account: Account) -> Iterator[Member]:
    """Regular files of an archive and of archives inside it, without unpacking."""
    try:
        with _Honest(path) as file, tarfile.open(fileobj=file, mode="r:") as outer:
            for entry in outer:
                if entry.isfile() and entry.name.endswith(".tar"):
                    folder = PurePosixPath(entry.name).stem
                    inside = outer.extractfile(entry)
                    with tarfile.open(fileobj=inside, mode="r:") as inner:
                        for e in inner:
                            if e.isfile():
                                yield Member(f"{folder}/{e.name}", number, entry.offset_data + e.offset_data, e.size)
                            _forget(inner)
                elif entry.isfile():
                    yield Member(entry.name.removeprefix("./"), number, entry.offset_data, entry.size)
                elif not entry.isdir():
                    account.skip(LINKED, entry.name)
                _forget(outer)
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        raise IntegrityError(
            f"{path}: is no whole uncompressed tar file ({error}); a compressed one is unpacked with gunzip first"
        ) from error


def _forget(archive: Any) -> None:
    """Drop the list of members read so far (`tarfile` keeps each, and ImageNet has 1.3 million)."""
    archive.members = []


def _label(source: TarSource, member: Member, sides: dict[str, Member]) -> str | int | None:
    """The label of an image: of .cls, else of .json, else the folder's name; None where there is none."""
    side = sides.get("cls") or sides.get("json")
    if side is None:
        return PurePosixPath(member.name).parent.name or None
    text = _text(source, side)
    try:
        found = int(text) if side is sides.get("cls") else json.loads(text)
        if isinstance(found, dict):
            found = next((found[key] for key in LABEL_KEYS if key in found), None)
        return found if found is None or (isinstance(found, str) and not found.isdecimal()) else _whole(found)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise UserError(f"{source.files[side.archive]}: {side.name} holds no label: {text[:40]!r}") from None


def _whole(value: Any) -> int:
    """A whole number.

    Raises:
        ValueError: it is none.
    """
    number = int(value)
    if number != float(value):
        raise ValueError(value)
    return number


def _text(source: TarSource, member: Member) -> str:
    if member.size > LONGEST_SIDE_FILE:
        raise UserError(f"{source.files[member.archive]}: {member.name} has {member.size} bytes; a label is shorter")
    return source.content(member).decode("utf-8", "replace")

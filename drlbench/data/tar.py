"""Images inside tar files, read in place: class folders, tar files of classes, or webdataset shards.

<class>/<image>                     class folders
<class>.tar holding <image>         as ImageNet's own ILSVRC2012_img_train.tar
<key>.jpg with <key>.cls or .json   webdataset; the label is a number, or "label" in the JSON
"""

from __future__ import annotations

import glob
import json
import tarfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from drlbench.data.folder import SUFFIXES
from drlbench.data.splits import Split
from drlbench.errors import IntegrityError, MissingPrerequisite, UserError

SIDE_FILES = (".cls", ".json")


@dataclass(frozen=True)
class Member:
    """One stored file: its name, which archive, and where its bytes lie there."""

    name: str
    archive: int
    offset: int
    size: int


class TarSource:
    """Members of several archives, each read at its offset; nothing is unpacked."""

    def __init__(self, files: Sequence[Path], members: Sequence[Member]) -> None:
        self.files, self.members = files, members
        self.names = [f"{files[m.archive].name}/{m.name}" for m in members]
        self._open: dict[int, IO[bytes]] = {}
        self._lock = threading.Lock()

    def read(self, indices: Sequence[int]) -> list[bytes]:
        """See `drlbench.data.lazy.Source`."""
        with self._lock:
            return [self._bytes(self.members[index]) for index in indices]

    def _bytes(self, member: Member) -> bytes:
        if member.archive not in self._open:
            self._open[member.archive] = self.files[member.archive].open("rb")
        file = self._open[member.archive]
        file.seek(member.offset)
        content = file.read(member.size)
        if len(content) != member.size:
            raise IntegrityError(f"{self.files[member.archive]}: ends inside {member.name}; fetch it again")
        return content


def open_tar(pattern: str) -> Split:
    """List one archive, or several named by a pattern with `*`; only headers and labels are read.

    Raises:
        MissingPrerequisite: no such file. IntegrityError: a truncated or compressed archive. UserError: no images, or
        images without labels.
    """
    files = [Path(p) for p in sorted(glob.glob(str(Path(pattern).expanduser())))]
    if not files:
        raise MissingPrerequisite(f"{pattern}: no such tar file")
    images: list[Member] = []
    sides: dict[str, Member] = {}
    for number, path in enumerate(files):
        for member in _members(path, number):
            suffix = PurePosixPath(member.name).suffix.lower()
            if suffix in SUFFIXES:
                images.append(member)
            elif suffix in SIDE_FILES:
                sides[f"{number}/{PurePosixPath(member.name).with_suffix('')}"] = member
    if not images:
        raise UserError(f"{pattern}: no images inside ({', '.join(SUFFIXES)})")
    images.sort(key=lambda m: (m.archive, m.name))
    source = TarSource(files, images)
    labels = [_label(source, member, sides) for member in images]
    absent = next((m.name for m, found in zip(images, labels, strict=True) if found is None), None)
    if absent is not None:
        raise UserError(
            f"{pattern}: {absent} has no label: no class folder or inner tar around it, no .cls or .json beside it"
        )
    numbers = {isinstance(found, int) for found in labels}
    if len(numbers) > 1:
        raise UserError(f"{pattern}: some labels are numbers and some are class folders; use one kind")
    found: list[Any] = labels
    classes = tuple(map(str, range(max(found) + 1))) if numbers == {True} else tuple(sorted(set(found)))
    return Split(source, found, [m.size for m in images], classes, pattern)


def _forget(archive: Any) -> None:
    """Drop the list of members read so far (`tarfile` keeps each, and ImageNet has 1.3 million)."""
    archive.members = []


def _members(path: Path, number: int) -> Iterator[Member]:
    """Regular files of an archive and of archives inside it, without unpacking."""
    try:
        with tarfile.open(path, "r:") as outer:
            for entry in outer:
                if entry.isfile() and entry.name.endswith(".tar"):
                    folder = PurePosixPath(entry.name).stem
                    with tarfile.open(fileobj=outer.extractfile(entry), mode="r:") as inner:
                        for e in inner:
                            if e.isfile():
                                yield Member(f"{folder}/{e.name}", number, entry.offset_data + e.offset_data, e.size)
                                _forget(inner)
                elif entry.isfile():
                    yield Member(entry.name, number, entry.offset_data, entry.size)
                _forget(outer)
    except tarfile.ReadError as error:
        raise IntegrityError(
            f"{path}: is no whole uncompressed tar file ({error}); a compressed one is unpacked with gunzip first"
        ) from error


def _label(source: TarSource, member: Member, sides: dict[str, Member]) -> str | int | None:
    path = PurePosixPath(member.name)
    side = sides.get(f"{member.archive}/{path.with_suffix('')}")
    if side is None:
        return path.parent.name or None
    text = source._bytes(side).decode("utf-8", "replace")
    try:
        found = json.loads(text)
        return int(found["label"] if isinstance(found, dict) else found)
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{source.files[side.archive]}: {side.name} holds no label: {text[:40]!r}") from None

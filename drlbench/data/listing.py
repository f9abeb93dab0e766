"""The files below a folder, in a fixed order, with everything left out accounted for.

Links to files are followed; links to folders are followed once for each folder they lead to.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path

from drlbench.data.account import Account
from drlbench.data.decode import suffixes
from drlbench.errors import IntegrityError, MissingPrerequisite, UserError

JUNK = ("thumbs.db", "desktop.ini", ".ds_store", "__macosx")
BY_THE_SYSTEM = "left by macOS or Windows"
HIDDEN = "hidden"
OTHER_ENDING = "of another kind by their names"
SPECIAL = "no regular files"
AGAIN = "links to folders that are read anyway"
DANGLING = "dangling links"


def junk(name: str) -> str | None:
    """Why a path's last part is no data whatever its ending: AppleDouble, Finder, Explorer, hidden; else None."""
    if name.startswith("._") or name.lower() in JUNK:
        return BY_THE_SYSTEM
    return HIDDEN if name.startswith(".") else None


@dataclass
class _Walk:
    """Folders still to be read; a linked one waits for all real ones, so that what both reach is read once."""

    account: Account
    visited: set[str] = field(default_factory=set)
    waiting: list[tuple[tuple[str, ...], Path]] = field(default_factory=list)
    linked: list[tuple[tuple[str, ...], Path]] = field(default_factory=list)

    def reach(self, parts: tuple[str, ...], place: Path) -> None:
        if (real := os.path.realpath(place)) in self.visited:
            self.account.skip(AGAIN, "/".join(parts))
        else:
            self.visited.add(real)
            self.waiting.append((parts, place))

    def next(self) -> tuple[tuple[str, ...], Path] | None:
        while not self.waiting and self.linked:
            self.reach(*self.linked.pop(0))
        return self.waiting.pop() if self.waiting else None


def files_below(root: Path, endings: Container[str], account: Account) -> tuple[list[str], list[int]]:
    """Paths below `root`, parted by `/` and sorted part by part, and bytes of every file with one of the endings.

    Raises:
        UserError: a folder that cannot be read. IntegrityError: a link with such an ending that leads nowhere.
    """
    found: list[tuple[tuple[str, ...], int]] = []
    walk = _Walk(account)
    walk.reach((), root)
    while (here := walk.next()) is not None:
        parts, folder = here
        try:
            entries = sorted(os.scandir(folder), key=lambda e: e.name)
        except OSError as error:
            raise UserError(f"{folder}: cannot be read ({error.strerror})") from error
        for entry in entries:
            inside = (*parts, entry.name)
            name = "/".join(inside)
            if (reason := junk(entry.name)) is not None:
                account.skip(reason, name)
                continue
            wanted = os.path.splitext(entry.name)[1].lower() in endings
            status = _status(entry, wanted)
            if status is None:
                account.skip(DANGLING, name)
            elif stat.S_ISDIR(status.st_mode):
                if entry.is_symlink():
                    walk.linked.append((inside, Path(entry.path)))
                else:
                    walk.reach(inside, Path(entry.path))
            elif not wanted:
                account.skip(OTHER_ENDING, name)
            elif not stat.S_ISREG(status.st_mode):  # a FIFO, socket or device, which would block
                account.skip(SPECIAL, name)
            else:
                found.append((inside, status.st_size))
    found.sort()
    return ["/".join(parts) for parts, _ in found], [size for _, size in found]


def pictures_below(root: Path, account: Account) -> tuple[list[str], list[int]]:
    """`files_below` of everything that Pillow reads by its ending."""
    return files_below(root, suffixes(), account)


def _status(entry: os.DirEntry[str], wanted: bool) -> os.stat_result | None:
    """What an entry is, links followed; None for a link that leads nowhere and is not wanted."""
    try:
        return entry.stat()
    except OSError as error:
        if not wanted:
            return None
        target = f" to {os.readlink(entry.path)}" if entry.is_symlink() else ""
        raise IntegrityError(
            f"{entry.path}: is a link{target} that leads nowhere; bring what it stands for, or remove it"
        ) from error


def files_of(pattern: str, ending: str, what: str) -> tuple[Path, list[str]]:
    """A folder and the files with an ending below it: of a path, or of a pattern where no such path exists.

    Args:
        pattern: a file, a folder (searched through its subfolders), or a pattern with `*`.
        ending: of the files in a folder, in lower case with its dot.
        what: the kind of file, for messages.

    Raises:
        MissingPrerequisite: nothing there.
    """
    path = Path(pattern).expanduser()
    if path.is_file():
        return path.parent, [path.name]
    if path.is_dir():
        names, root = files_below(path, (ending,), Account(pattern))[0], path
    else:
        places = [Path(p) for p in sorted(glob.glob(str(path)))]
        places = [p for p in places if p.is_file() and junk(p.name) is None]
        root = Path(os.path.commonpath([p.parent for p in places])) if places else path
        names = [p.relative_to(root).as_posix() for p in places]
    if not names:
        raise MissingPrerequisite(f"{path}: no {what} file here")
    return root, names

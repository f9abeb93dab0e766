"""The files below a folder that may be pictures, in a fixed order, with everything left out accounted for.

Links to files are followed; links to folders are followed once for each folder they lead to.
"""

from __future__ import annotations

import glob
import os
import stat
from pathlib import Path

from drlbench.data.account import Account
from drlbench.data.decode import suffixes
from drlbench.errors import IntegrityError, MissingPrerequisite, UserError

JUNK = ("thumbs.db", "desktop.ini", ".ds_store", "__macosx")
BY_THE_SYSTEM = "left by macOS or Windows"
HIDDEN = "hidden"
NO_PICTURE = "not pictures by their names"
SPECIAL = "no regular files"
AGAIN = "links to folders that are read anyway"
DANGLING = "dangling links"


def junk(name: str) -> str | None:
    """Why a path's last part is no picture whatever its ending: AppleDouble, Finder, Explorer, hidden; else None."""
    if name.startswith("._") or name.lower() in JUNK:
        return BY_THE_SYSTEM
    return HIDDEN if name.startswith(".") else None


def pictures_below(root: Path, account: Account) -> tuple[list[str], list[int]]:
    """Paths below `root`, parted by `/` and sorted part by part, and bytes of every picture.

    Raises:
        UserError: a folder that cannot be read. IntegrityError: a link of a picture's name that leads nowhere.
    """
    found: list[tuple[tuple[str, ...], int]] = []
    stack: list[tuple[tuple[str, ...], Path]] = [((), root)]
    visited = {os.path.realpath(root)}
    linked: list[tuple[tuple[str, ...], Path]] = []  # after all real folders, so that what both reach is read once

    def reach(here: tuple[str, ...], place: Path) -> None:
        if (real := os.path.realpath(place)) in visited:
            account.skip(AGAIN, "/".join(here))
        else:
            visited.add(real)
            stack.append((here, place))

    while stack:
        parts, folder = stack.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda e: e.name)
        except OSError as error:
            raise UserError(f"{folder}: cannot be read ({error.strerror})") from error
        for entry in entries:
            here = (*parts, entry.name)
            name = "/".join(here)
            if (reason := junk(entry.name)) is not None:
                account.skip(reason, name)
            elif entry.is_dir():
                if entry.is_symlink():
                    linked.append((here, Path(entry.path)))
                else:
                    reach(here, Path(entry.path))
            elif os.path.splitext(entry.name)[1].lower() not in suffixes():
                account.skip(DANGLING if entry.is_symlink() and not os.path.exists(entry.path) else NO_PICTURE, name)
            else:
                size = _size(entry)
                if size is None:
                    account.skip(SPECIAL, name)
                else:
                    found.append((here, size))
        while not stack and linked:
            reach(*linked.pop(0))
    found.sort()
    return ["/".join(parts) for parts, _ in found], [size for _, size in found]


def _size(entry: os.DirEntry[str]) -> int | None:
    """Bytes of a regular file; None for a FIFO, socket or device, which would block."""
    try:
        status = entry.stat()
    except OSError as error:
        target = f" to {os.readlink(entry.path)}" if entry.is_symlink() else ""
        raise IntegrityError(
            f"{entry.path}: is a link{target} that leads nowhere; bring what it stands for, or remove it"
        ) from error
    return status.st_size if stat.S_ISREG(status.st_mode) else None


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
        names = [p for p in sorted(path.rglob("*")) if p.suffix.lower() == ending and p.is_file()]
        names = [p for p in names if not any(junk(part) for part in p.relative_to(path).parts)]
        root = path
    else:
        names = [Path(p) for p in sorted(glob.glob(str(path))) if junk(Path(p).name) is None]
        names = [p for p in names if p.is_file()]
        root = Path(os.path.commonpath([p.parent for p in names])) if names else path
    if not names:
        raise MissingPrerequisite(f"{path}: no {what} file here")
    return root, [p.relative_to(root).as_posix() for p in names]

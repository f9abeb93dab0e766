"""The files behind a path to weights: one, or the parts of a set that was saved in pieces. Nothing here imports torch.

A set is an index, `*.index.json` with a `weight_map` from names to files, and the files beside it.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from drlbench.errors import MissingPrerequisite, UserError
from drlbench.weights.files import file_hash

INDEX = ".index.json"
ENDINGS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
PART = re.compile(r"^(?P<stem>.+)-(?P<number>\d+)-of-(?P<count>\d+)(?P<ending>\.\w+)$")


@dataclass(frozen=True)
class Parts:
    """Weights files that belong together.

    Attributes:
        path: the file, or the index of a set.
        files: the files with tensors, in order.
        expected: name of a tensor -> the file it must be in; empty for a single file, whose names nobody lists.
    """

    path: Path
    files: tuple[Path, ...]
    expected: dict[str, Path]

    def sha256(self) -> str:
        """Hex sha256 of the file's content; of a set, over its files' names and contents."""
        if not self.expected:
            return file_hash(self.path)
        lines = [f"{file.name} {file_hash(file)}" for file in self.files]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def parts_of(path: str | Path) -> Parts:
    """The files that a path stands for: a file, an index, one part of a set, or the folder of any of these.

    Raises:
        MissingPrerequisite: the path, or a file of the set, is not there.
        UserError: a folder without weights or with several, or a damaged index.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        path = _in_folder(path)
    elif not path.is_file():
        raise MissingPrerequisite(f"{path}: no such file")
    if path.name.endswith(INDEX):
        return _of_index(path)
    match = PART.match(path.name)
    if match and int(match["count"]) > 1:
        index = path.with_name(match["stem"] + match["ending"] + INDEX)
        if not index.is_file():
            raise MissingPrerequisite(f"{path}: is one of {int(match['count'])} parts; their index {index} is missing")
        return _of_index(index)
    return Parts(path, (path,), {})


def _in_folder(folder: Path) -> Path:
    """The one index or weights file of a folder."""
    names = sorted(p for p in folder.iterdir() if p.is_file())
    found = [p for p in names if p.name.endswith(INDEX)] or [p for p in names if p.suffix in ENDINGS]
    if len(found) == 1:
        return found[0]
    if (folder / ".metadata").is_file():
        raise UserError(
            f"{folder}: is a folder of torch's distributed checkpoint; make one file of it with: "
            f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder} weights.pt"
        )
    what = f"with {', '.join(p.name for p in found)}; give one of them" if found else "without a weights file or index"
    raise UserError(f"{folder}: is a folder {what}")


def _of_index(index: Path) -> Parts:
    try:
        table = json.loads(index.read_text())["weight_map"]
        expected = {str(name): index.parent / str(file) for name, file in table.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index}: is no index of weights: it needs a `weight_map` of names to files") from error
    if not expected or any(file.parent != index.parent for file in expected.values()):
        raise UserError(f"{index}: its `weight_map` must name files beside it")
    files = tuple(sorted(set(expected.values())))
    if missing := [file.name for file in files if not file.is_file()]:
        raise MissingPrerequisite(
            f"{index}: {len(missing)} of its {len(files)} files missing: {', '.join(missing[:5])}"
        )
    return Parts(index, files, expected)

"""Which split a file belongs to, by the conventions of the Hugging Face Hub: a word in its name or its folder's.

`train-00000-of-00002.parquet`, `data/test-0.parquet`, `validation/cat/1.png`, `plain/train/0000.parquet`. The word
stands alone between characters that are no letters; folders weigh more than the file's own name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from drlbench.errors import UserError

WORDS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
HELD_OUT = ("validation", "test")  # the first that is there is held out
_WORD = {word: (re.compile(rf"(?<![a-z]){word}(?![a-z])"), split) for split, words in WORDS.items() for word in words}


@lru_cache(maxsize=4096)
def split_of(name: str) -> str | None:
    """The split that one part of a path speaks of: train, validation, test, or None."""
    found = {split for pattern, split in _WORD.values() if pattern.search(name.lower())}
    return found.pop() if len(found) == 1 else None


@dataclass
class Partition:
    """Files by split.

    Attributes:
        splits: split -> positions of its files, in their order.
        rest: positions of files of no split.
        groups: what the paths say beside the split (a configuration's folder) -> a file of it.
    """

    splits: dict[str, list[int]] = field(default_factory=dict)
    rest: list[int] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)


def partition(names: Sequence[str]) -> Partition:
    """Sort files, given by their paths below one folder, into splits."""
    found = Partition()
    for position, name in enumerate(names):
        *folders, file = name.split("/")
        split = next((s for part in reversed(folders) if (s := split_of(part))), None) or split_of(file)
        if split is None:
            found.rest.append(position)
        else:
            found.splits.setdefault(split, []).append(position)
        config = "/".join(part for part in folders if part.lower() != "data" and split_of(part) is None)
        found.groups.setdefault(config, name)
    return found


@dataclass(frozen=True)
class Choice:
    """Positions of the files to learn from and of those to hold out, and the splits they belong to ("" for none)."""

    train: list[int]
    held_out: list[int]
    taken: str = ""
    aside: str = ""
    unused: tuple[str, ...] = ()

    def sentence(self, holding_out: bool) -> str:
        """What was chosen; "" where there was nothing to choose.

        Args:
            holding_out: whether the held-out files are used as such, or are left aside too.
        """
        aside = [self.aside] if self.aside and holding_out else []
        unused = [*([self.aside] if self.aside and not holding_out else []), *self.unused]
        if not aside and not unused:
            return ""
        held = f", {aside[0]} is held out" if aside else ""
        left = f", {' and '.join(unused)} left aside (name it by its own path to use it)" if unused else ""
        return f"splits by name: {self.taken} is taken{held}{left}"


def choose(names: Sequence[str], where: str, ending: str, named: bool = False) -> Choice:
    """Which files to learn from and which to hold out.

    Args:
        names: paths below `where`.
        where: the folder, for messages.
        ending: of the files, for the spellings that a message offers.
        named: whether the files were named by a pattern, which may reach over several configurations.

    Raises:
        UserError: files of splits and others side by side, several configurations, or no train split among several;
            the message gives two spellings that would do.
    """
    found = partition(names)
    if len(found.groups) > 1 and not named:
        two = [f"{where}/{config or name}" for config, name in found.groups.items()][:2]
        raise UserError(
            f"{where}: holds files of {len(found.groups)} folders ({', '.join(c or '.' for c in found.groups)}), which "
            f"are not pooled; name one: `{two[0]}` or `{two[1]}`"
        )
    if found.rest and found.splits:
        split, positions = next(iter(found.splits.items()))
        name, other = names[positions[0]], names[found.rest[0]]
        raise UserError(
            f"{where}: {name} belongs to the {split} split and {other} to none; name the files: "
            f"`{spelling(where, name, ending)}` or `{where}/{other}`"
        )
    if len(found.splits) <= 1:
        return Choice(list(range(len(names))), [], next(iter(found.splits), ""))
    if "train" not in found.splits:
        two = [spelling(where, names[positions[0]], ending) for positions in found.splits.values()][:2]
        raise UserError(
            f"{where}: holds the splits {' and '.join(found.splits)} but no train split; name one: "
            f"`{two[0]}` or `{two[1]}`"
        )
    held = next(s for s in HELD_OUT if s in found.splits)
    unused = tuple(s for s in found.splits if s not in ("train", held))
    return Choice(found.splits["train"], found.splits[held], "train", held, unused)


def spelling(where: str, name: str, ending: str) -> str:
    """The folder, or the pattern of files, that holds one split and has this file in it."""
    *folders, file = name.split("/")
    for depth in range(len(folders), 0, -1):
        if split_of(folders[depth - 1]):
            return "/".join([where, *folders[:depth]])
    end = max((m.end() for pattern, _ in _WORD.values() if (m := pattern.search(file.lower()))), default=0)
    return "/".join([where, *folders, f"{file[:end]}*{ending}"])

"""What classes are called, in which order they are numbered, and how two sets of names are matched.

Classes are matched by name, never by their position in a folder: a set that lacks a class keeps the others' indices.
A name may be the class's own name, an ImageNet id (wnid, n01440764), or an integer index.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from drlbench.errors import UserError

Labels = NDArray[np.int64]

MAX_CLASSES = 100_000  # ImageNet-21k has 21,843; what is larger is an identifier, not a class
SHOWN = 12  # names of a list in a message
_WNID = re.compile(r"n\d{8}(?!\d)")
_NUMBER = re.compile(r"\d{1,9}")


def natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key by which c2 comes before c10."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part)


def ordered(names: Sequence[str]) -> tuple[str, ...]:
    """Distinct names in the order of their class index."""
    return tuple(sorted(set(names), key=lambda name: (natural(name), name)))


def listed(names: Sequence[str]) -> str:
    """Names for a message, the first dozen of them and their number."""
    names = [str(name) for name in names]
    more = f", ... ({len(names)} in all)" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def check_count(where: str, highest: int) -> None:
    """Refuse label numbers that cannot be class indices.

    Raises:
        UserError: says so.
    """
    if highest >= MAX_CLASSES:
        raise UserError(
            f"{where}: a label is {highest}; more than {MAX_CLASSES:,} classes are not read (is this a class index?)"
        )


@cache
def wnids() -> tuple[str, ...]:
    """The 1,000 ImageNet ids in the order of the class index, which is their alphabetical order."""
    from timm.data.imagenet_info import ImageNetInfo

    return tuple(ImageNetInfo("imagenet-1k").label_names())


def in_words(names: Sequence[str]) -> tuple[str, ...]:
    """Names as people say them: ImageNet ids by the first name of their description, others as they are."""
    if not names or not all(_WNID.fullmatch(name) for name in names):
        return tuple(names)
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-22k")
    said = dict(zip(info.label_names(), info.label_descriptions(), strict=True))
    return tuple(said.get(name, name).partition(",")[0] for name in names)


def match(own: Sequence[str], known: Sequence[str], what: str, other: str, indexed: bool = False) -> tuple[Labels, str]:
    """The index in `known` of every name in `own`, (len(own),) int64, and by what they were matched.

    Args:
        own, known: class names; each is without repetition, or its repeated names are never matched by name.
        what, other: what messages call the two.
        indexed: whether positions in `own` are class indices by themselves, as labels stored as integers are; they
            count where the lists are as long as each other and share no name.

    Raises:
        UserError: some name cannot be matched; both lists are given.
    """
    rules: list[tuple[str, Callable[[], list[int] | None]]] = [
        ("name", lambda: _by_key(own, known, str)),
        ("name, in other spelling", lambda: _by_key(own, known, _plain)),
        ("index and name", lambda: _by_number_and_name(own, known)),
        ("ImageNet id", lambda: _by_wnid(own, known)),
        ("integer index", lambda: _by_number(own, len(known))),
        ("integer index", lambda: list(range(len(own))) if indexed and _strangers(own, known) else None),
    ]
    for how, rule in rules:
        if (found := rule()) is not None:
            return np.array(found, dtype=np.int64), how
    unknown = [name for name in own if name not in set(known)]
    raise UserError(
        f"classes of {what} cannot be matched with those of {other} by name, ImageNet id or integer index: "
        f"{listed(unknown or own)} among {listed(own)}; {other} has {listed(known)}"
    )


def _by_key(own: Sequence[str], known: Sequence[str], key: Callable[[str], str]) -> list[int] | None:
    """Indices by equal keys; None where one is missing, or is ambiguous."""
    places: dict[str, list[int]] = {}
    for index, name in enumerate(known):
        places.setdefault(key(name), []).append(index)
    found = [places.get(key(name), []) for name in own]
    if any(len(indices) != 1 for indices in found) or len({indices[0] for indices in found}) < len(own):
        return None
    return [indices[0] for indices in found]


def _by_number_and_name(own: Sequence[str], known: Sequence[str]) -> list[int] | None:
    """Indices of folders like `0001-sea-lion`, whose number and name agree."""
    found = [re.fullmatch(r"(\d{1,9})[-_ ]+(.+)", name) for name in own]
    if not own or not all(m and int(m[1]) < len(known) and _plain(m[2]) == _plain(known[int(m[1])]) for m in found):
        return None
    return [int(m[1]) for m in found if m]


def _strangers(own: Sequence[str], known: Sequence[str]) -> bool:
    """Whether two lists are as long as each other and share no name, which would contradict their positions."""
    return len(own) == len(known) and not {_plain(name) for name in own} & {_plain(name) for name in known}


def _plain(name: str) -> str:
    """The first synonym, in lower case, words parted by one blank."""
    return " ".join(re.sub(r"[_\-\s]+", " ", name.split(",")[0]).casefold().split())


def _by_wnid(own: Sequence[str], known: Sequence[str]) -> list[int] | None:
    """Indices of ImageNet ids among ids, among all 1,000 classes, or among some of their names."""
    mine = [_WNID.match(name) for name in own]
    theirs = [_WNID.match(name) for name in known]
    if not own or not known or not (all(mine) or all(theirs)):
        return None
    if all(mine) and all(theirs):
        return _by_key([m[0] for m in mine if m], [t[0] for t in theirs if t], str)
    if all(theirs):  # names or numbers against ids
        numbers = _as_imagenet(own)
        return None if numbers is None else _by_key([wnids()[k] for k in numbers], [t[0] for t in theirs if t], str)
    order = {wnid: index for index, wnid in enumerate(wnids())}
    if any(m is not None and m[0] not in order for m in mine):
        return None
    indices = [order[m[0]] for m in mine if m]
    if len(known) == len(order):
        return indices
    named = _as_imagenet(known)
    return None if named is None else _by_key([str(k) for k in indices], [str(k) for k in named], str)


def _as_imagenet(names: Sequence[str]) -> list[int] | None:
    """ImageNet indices of numbers, or of curated class names."""
    if all(_NUMBER.fullmatch(name) for name in names):
        return _by_number(names, len(wnids()))
    from drlbench.encoders.clip import imagenet_names

    return _by_key(names, imagenet_names(), _plain)


def _by_number(own: Sequence[str], count: int) -> list[int] | None:
    if not all(_NUMBER.fullmatch(name) for name in own):
        return None
    found = [int(name) for name in own]
    return found if len(set(found)) == len(found) and max(found, default=0) < count else None


def indices(names: Sequence[str]) -> tuple[Labels, str]:
    """The class index that each name says by itself, (len(names),) int64, and how it says it.

    Numbers are indices and ImageNet ids are those of the 1,000 classes; other names are numbered in natural order.
    """
    if (numbers := _by_number(names, MAX_CLASSES)) is not None:
        return np.array(numbers, dtype=np.int64), "integer index"
    if (numbers := _by_wnid(names, [str(k) for k in range(1000)])) is not None:
        return np.array(numbers, dtype=np.int64), "ImageNet id"
    order = {name: index for index, name in enumerate(ordered(names))}
    return np.array([order[name] for name in names], dtype=np.int64), "natural order of the names"


def common(
    own: tuple[Labels, Sequence[str] | None], other: tuple[Labels, Sequence[str] | None], what: str, where: str
) -> tuple[Labels, Labels, str]:
    """Labels of two sets of images in one numbering, that of `other`, and by what they were matched.

    Each side is its labels (n,) and, where it has them, its class names in label order. Classes that only one side has
    are kept apart from all others; one side must hold all classes of the other.

    Raises:
        UserError: they cannot be matched; both lists are given.
    """
    (labels, names), (others, known) = own, other
    if names is None and known is None:
        return labels, others, "integer index"
    if known is None:
        # The other side has bare indices: names have to say their own.
        assert names is not None
        count = max(int(others.max(initial=0)) + 1, _meant(names))
        indices, how = match(names, [str(k) for k in range(count)], what, where, indexed=True)
        own_indices, other_indices = set(indices[labels].tolist()), set(others.tolist())
        if not (own_indices <= other_indices or other_indices <= own_indices):
            meant, has = (listed([str(k) for k in sorted(found)]) for found in (own_indices, other_indices))
            raise UserError(
                f"classes of {what} are {listed(names)}, which would be the indices {meant}; {where} has {has} (is one "
                "of them counted from 1?)"
            )
        return indices[labels], others, how
    if names is None:
        back, onto, how = common(other, own, where, what)
        return onto, back, how
    held, holding = set(labels.tolist()), set(others.tolist())
    mine = [name for k, name in enumerate(names) if k in held]
    theirs = [name for k, name in enumerate(known) if k in holding]
    try:
        place, how = match(names, known, what, where)
        return place[labels], others, how
    except UserError as error:
        try:
            place, how = match(known, names, where, what)
        except UserError:
            try:  # of the classes that hold images
                small, how = match(mine, theirs, what, where)
            except UserError:
                raise error from None
            lookup = np.zeros(len(names), dtype=np.int64)
            lookup[sorted(held)] = np.array(sorted(holding), dtype=np.int64)[small]
            return lookup[labels], others, how
    further = np.arange(len(names), dtype=np.int64) + len(known)
    further[place] = np.arange(len(known))
    return further[labels], others, how


def _meant(names: Sequence[str]) -> int:
    """How many indices the names speak of: their number, the highest of numbers, or all of ImageNet's for its ids."""
    if all(_NUMBER.fullmatch(name) for name in names):
        highest = max(map(int, names), default=-1)
        check_count("class names", highest)
        return highest + 1
    return len(wnids()) if all(_WNID.match(name) for name in names) else len(names)

"""What a suite has to know of its images: how many classes, which shape, and the fingerprint that keys carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from drlbench.data.kinds import KINDS
from drlbench.data.sources import check_data, fingerprint, read_dataset
from drlbench.errors import MissingPrerequisite
from drlbench.suite.parts import DataSpec

# Made here, so that they need not be read to know what they are: classes, (C, H, W).
BUILTIN = {"digits": (10, (1, 8, 8)), "toy": (1, (1, 1, 2))}
IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class Images:
    """The data entry, resolved.

    Attributes:
        settings: what the readers take.
        num_classes, shape: of the images, (C, H, W); None where they are not here and the entry does not tell.
        absent: why they cannot be read, where they are not here.
        class_names: in the order of the class index; empty where nothing tells them.
    """

    settings: Mapping[str, Any]
    num_classes: int | None
    shape: tuple[int, int, int] | None
    absent: MissingPrerequisite | None = None
    class_names: tuple[str, ...] = ()

    @cached_property
    def keyed(self) -> dict[str, Any]:
        """`settings` with the `fingerprint` of the content, so that other images are another key; computed once."""
        return {**self.settings, "fingerprint": "absent" if self.absent else fingerprint(self.settings)}


def resolve_images(spec: DataSpec) -> Images:
    """Look at the images a suite names, where they are here.

    Raises:
        UserError: the entry is wrong, or the files are not what its kind expects.
    """
    settings = {"kind": spec.kind, **spec.settings}
    if spec.kind not in KINDS:
        raise KeyError(spec.kind)
    check_data(settings)
    if spec.kind in BUILTIN:
        known, image = BUILTIN[spec.kind]
        return Images(settings, known, image, class_names=tuple(str(c) for c in range(known)))
    try:
        data = read_dataset(settings)
    except MissingPrerequisite as error:
        names, size = settings.get("class_names"), settings.get("size")
        classes = IMAGENET_CLASSES if names == "imagenet" else len(names) if isinstance(names, list) else None
        shape = (1 if settings.get("grey") else 3, size, size) if isinstance(size, int) else None
        return Images(settings, classes, shape, error)
    return Images(settings, data.num_classes, data.image_shape, class_names=data.class_names)

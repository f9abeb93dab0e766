"""From class labels to the prompts that preference rewards read.

No standard exists for scoring class-conditional images with text-trained rewards, so template and class names are
part of every signature, and scores are to be compared with a base model under the same prompts and seeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from drlbench.encoders.clip import imagenet_names
from drlbench.errors import UserError

TEMPLATE = "a photo of a {class}"


@dataclass(frozen=True)
class Prompts:
    """One prompt per class.

    Attributes:
        texts: (number of classes,) prompts in the order of the class indices.
        signature: template and a hash of all prompts.
        class_names: (number of classes,) what the prompts are about.
    """

    texts: tuple[str, ...]
    signature: str
    class_names: tuple[str, ...]


def class_prompts(class_names: Sequence[str] | str = "imagenet", template: str = TEMPLATE) -> Prompts:
    """Prompts for class names in label order; "imagenet" stands for `imagenet_names`.

    Raises:
        UserError: no class names, or a template without exactly one `{class}`.
    """
    if isinstance(class_names, str):
        if class_names != "imagenet":
            raise UserError(f"class names '{class_names}': give a list of names in label order, or 'imagenet'")
        class_names = imagenet_names()
    if not class_names:
        raise UserError("class names: the list is empty")
    if template.count("{class}") != 1:
        raise UserError(f"prompt template '{template}': must hold {{class}} exactly once")
    texts = tuple(template.replace("{class}", name) for name in class_names)
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:8]
    return Prompts(texts, f"'{template}'x{len(texts)}:{digest}", tuple(class_names))

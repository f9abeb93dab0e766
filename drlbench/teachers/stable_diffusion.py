"""Stable Diffusion 1.5 as a teacher: its pictures of every class, as class folders that a suite reads like real ones.

The paper distils Stable Diffusion 1.5 (its Figure 4) without saying with which prompts, guidance or number of images;
prompt, guidance 7.5 and 50 steps of the pipeline's own scheduler are chosen here and kept in `teacher.json`.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from drlbench.errors import MissingPrerequisite, UserError
from drlbench.seeds import derive_seed
from drlbench.store import atomic
from drlbench.weights.files import is_offline

REPOSITORY = "stable-diffusion-v1-5/stable-diffusion-v1-5"
REVISION = "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
SPLITS = ("train", "held_out")
RECORD = "teacher.json"


@dataclass(frozen=True)
class Recipe:
    """What a picture depends on besides the weights.

    Attributes:
        side: pixels that pictures are kept at; the pipeline's own are 512 and are reduced by Lanczos' filter.
    """

    template: str = "a photo of a {class}"
    steps: int = 50
    guidance: float = 7.5
    side: int = 256
    seed: int = 0


def load_pipeline(model: str = REPOSITORY, device: str = "cpu") -> Any:
    """The pipeline from the Hub at its pinned revision, or from a local folder in the same layout; safetensors only.

    Raises:
        MissingPrerequisite: it is neither here nor to be had. UserError: the folder holds no such pipeline.
    """
    from diffusers import StableDiffusionPipeline

    local = Path(model).expanduser().is_dir()
    try:
        pipeline = StableDiffusionPipeline.from_pretrained(
            str(Path(model).expanduser()) if local else model,
            revision=None if local else REVISION,
            use_safetensors=True,
            safety_checker=None,
            requires_safety_checker=False,
            torch_dtype=torch.float16 if device.startswith("cuda") else torch.float32,
            local_files_only=local or is_offline(),
        )
    except (OSError, ValueError) as error:
        if local:
            raise UserError(f"{model}: is no Stable Diffusion pipeline in safetensors: {error}") from error
        raise MissingPrerequisite(
            f"{model} at {REVISION[:12]} is not here: {error}; bring it with "
            f"`hf download {REPOSITORY} --revision {REVISION} --exclude '*.ckpt' '*.bin'` "
            "(4 GB, CreativeML Open RAIL-M), or name a local folder"
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def draw(
    pipeline: Any,
    out: Path,
    class_names: Sequence[str],
    per_class: tuple[int, int],
    recipe: Recipe,
    model: str = REPOSITORY,
    batch: int = 8,
    progress: Callable[[float], None] = lambda _: None,
) -> int:
    """Fill `out/train/<class>` and `out/held_out/<class>` with PNGs; those that are there already are kept.

    Args:
        class_names: in the order of the class index; each is put into the recipe's template.
        per_class: train and held-out pictures of each class. Picture i of a class is the same whatever the others are.
        batch: pictures at a time; changes a picture by rounding only.

    Returns:
        how many pictures were drawn now.

    Raises:
        UserError: `out` was begun with another recipe, or a template without {class}.
    """
    if recipe.template.count("{class}") != 1:
        raise UserError(f"template {recipe.template!r}: must hold {{class}} exactly once")
    revision = REVISION if model == REPOSITORY else None
    _record(out, {**asdict(recipe), "model": model, "revision": revision, "classes": list(class_names)})
    wanted = list(_places(out, class_names, per_class))
    left = [place for place in wanted if not place[0].is_file()]
    for start in range(0, len(left), batch):
        part = left[start : start + batch]
        seeds = [derive_seed(recipe.seed, SPLITS.index(split), label, i) for _, split, label, i in part]
        pictures = pipeline(
            prompt=[recipe.template.replace("{class}", class_names[label]) for _, _, label, _ in part],
            num_inference_steps=recipe.steps,
            guidance_scale=recipe.guidance,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        ).images
        for (path, *_), picture in zip(part, pictures, strict=True):
            buffer = io.BytesIO()
            picture.convert("RGB").resize((recipe.side, recipe.side), Image.Resampling.LANCZOS).save(buffer, "PNG")
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(path, buffer.getvalue())
        progress((start + len(part)) / len(left))
    return len(left)


def _places(out: Path, class_names: Sequence[str], per_class: tuple[int, int]) -> Iterator[tuple[Path, str, int, int]]:
    """(path, split, class index, number) of every picture; folders sort in the order of the class index."""
    for split, count in zip(SPLITS, per_class, strict=True):
        for label, name in enumerate(class_names):
            folder = out / split / f"{label:04d}-{re.sub('[^A-Za-z0-9]+', '-', name).strip('-')}"
            yield from ((folder / f"{i:05d}.png", split, label, i) for i in range(count))


def _record(out: Path, facts: dict[str, Any]) -> None:
    path = out / RECORD
    if path.is_file():
        before = json.loads(path.read_text())
        changed = [n for n in facts if before.get(n) != facts[n]]
        if changed:
            names = {f.name for f in fields(Recipe)}
            told = ", ".join(f"{n} was {before.get(n)!r}" for n in changed if n in names) or ", ".join(changed)
            raise UserError(f"{out}: was begun otherwise ({told}); give the same settings, or another folder")
        return
    out.mkdir(parents=True, exist_ok=True)
    atomic.write_json(path, facts)

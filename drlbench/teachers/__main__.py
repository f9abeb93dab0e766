"""Data from a teacher: `python -m drlbench.teachers NAME OUT` writes its samples where a suite looks for its images.

`stable-diffusion` is the teacher of suites/paper/distillation.yaml, `digits` of suites/paper/digits-distillation.yaml.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from drlbench.errors import UserError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Write a teacher's samples as a suite's images.")


@app.command("stable-diffusion")
def stable_diffusion(
    out: Annotated[Path, typer.Argument(help="Folder for train/ and held_out/.")] = Path("data/sd15-teacher"),
    train: Annotated[int, typer.Option(min=1, help="Train pictures of each class.")] = 100,
    held_out: Annotated[int, typer.Option(min=1, help="Held-out pictures of each class.")] = 50,
    model: Annotated[str, typer.Option(help="The pinned repository, or a local folder in its layout.")] = "",
    classes: Annotated[str, typer.Option(help="Comma-separated names (default: the 1,000 of ImageNet).")] = "",
    steps: Annotated[int, typer.Option(min=1)] = 50,
    guidance: Annotated[float, typer.Option(min=0)] = 7.5,
    side: Annotated[int, typer.Option(min=8, help="Pixels pictures are kept at.")] = 256,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    batch: Annotated[int, typer.Option(min=1)] = 8,
    device: Annotated[str, typer.Option()] = "cpu",
) -> None:
    """Pictures of every class by Stable Diffusion 1.5; running it again goes on."""
    from drlbench.encoders.clip import imagenet_names
    from drlbench.run.progress import bars
    from drlbench.teachers.stable_diffusion import REPOSITORY, Recipe, draw, load_pipeline

    names = [n.strip() for n in classes.split(",") if n.strip()] or list(imagenet_names())
    recipe = Recipe(steps=steps, guidance=guidance, side=side, seed=seed)
    pipeline = load_pipeline(model or REPOSITORY, device)
    with bars() as tell:
        drawn = draw(
            pipeline, out, names, (train, held_out), recipe, model or REPOSITORY, batch, lambda x: tell(str(out), x)
        )
    print(f"{drawn} pictures drawn; {len(names)} classes in {out}")


@app.command()
def digits(
    out: Annotated[Path, typer.Argument(help="The npz to write.")] = Path("data/digits-teacher.npz"),
    train: Annotated[int, typer.Option(min=20, help="Train samples.")] = 3000,
    held_out: Annotated[int, typer.Option(min=20, help="Held-out samples.")] = 1500,
    updates: Annotated[int, typer.Option(min=1, help="Of flow matching on the real train digits.")] = 4000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Samples of a SiT of width 32 and depth 2, trained here on the real digits."""
    from drlbench.teachers.digits import draw_digits

    draw_digits(out, train, held_out, updates, seed)
    print(f"{train} train and {held_out} held-out samples in {out}")


def main() -> None:
    """Entry point of the module: a user's mistake is one message and an exit code."""
    try:
        app()
    except UserError as error:
        print(f"drlbench.teachers: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()

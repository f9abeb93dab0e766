"""Autoencoders in local folders: which kind one is, and its files by role. Nothing here imports torch.

An SD-VAE as diffusers saves it:

    config.json, diffusion_pytorch_model.safetensors

RAE's stage 1, the encoder as transformers saves it and the rest under the authors' names:

    encoder/config.json, encoder/model.safetensors, encoder/preprocessor_config.json (optional)
    decoder/model.pt or decoder/model.safetensors, decoder/config.json (needed for widths no released decoder has)
    stat.pt or stat.safetensors, {mean, var}

A small one, trained by a suite: config.json, weights.safetensors and the encoder it was trained on in encoder/.
"""

from __future__ import annotations

from pathlib import Path

from drlbench.errors import MissingPrerequisite

SD_VAE, RAE, SMALL_RAE = "sd-vae", "rae", "small-rae"
# Role -> names it may have; the first is asked for when none is there.
FILES: dict[str, dict[str, tuple[str, ...]]] = {
    SD_VAE: {"config": ("config.json",), "weights": ("diffusion_pytorch_model.safetensors",)},
    SMALL_RAE: {
        "config": ("config.json",),
        "weights": ("weights.safetensors",),
        "encoder_config": ("encoder/config.json",),
    },
    RAE: {
        "config": ("encoder/config.json",),
        "encoder": ("encoder/model.safetensors",),
        "decoder": ("decoder/model.pt", "decoder/model.safetensors"),
        "statistics": ("stat.pt", "stat.safetensors"),
    },
}
OPTIONAL = {
    SMALL_RAE: {"encoder": "encoder/weights.safetensors"},
    RAE: {"preprocessor": "encoder/preprocessor_config.json", "decoder_config": "decoder/config.json"},
}
NAMED = {SD_VAE: "an SD-VAE folder", RAE: "an RAE folder", SMALL_RAE: "the folder of an autoencoder trained here"}


def kind_of(folder: Path) -> str:
    """ "small-rae" for one that was trained here, "rae" for a folder with an encoder or a decoder, else "sd-vae"."""
    if (folder / "weights.safetensors").is_file():
        return SMALL_RAE
    return RAE if (folder / "encoder").is_dir() or (folder / "decoder").is_dir() else SD_VAE


def folder_files(folder: Path) -> dict[str, Path]:
    """Every file of an autoencoder's folder, by role.

    Raises:
        MissingPrerequisite: one is not there.
    """
    kind = kind_of(folder)
    found = {}
    for role, names in FILES[kind].items():
        there = [folder / name for name in names if (folder / name).is_file()]
        if not there:
            needed = ", ".join(" or ".join(options) for options in FILES[kind].values())
            raise MissingPrerequisite(f"{folder / names[0]}: no such file; {NAMED[kind]} holds {needed}")
        found[role] = there[0]
    found |= {role: folder / name for role, name in OPTIONAL.get(kind, {}).items() if (folder / name).is_file()}
    return found

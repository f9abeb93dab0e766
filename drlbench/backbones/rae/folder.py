"""RAE stage 1 from files: the three official ones, or a local folder of an encoder, a decoder and statistics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drlbench.backbones.folders import folder_files
from drlbench.backbones.rae.autoencoder import DECODERS, RAEAutoencoder
from drlbench.backbones.rae.published import DECODER_FINGERPRINT
from drlbench.errors import UserError
from drlbench.weights.copies import choose
from drlbench.weights.read import read_checkpoint

MODEL_TYPE = "dinov2_with_registers"
HEADS = {width: heads for width, _, heads, _ in DECODERS.values()}


def load_rae(encoder: Path, decoder: Path, statistics: Path, pixels: int = 256, **architecture: Any) -> RAEAutoencoder:
    """RAE stage 1 from its three files.

    Args:
        encoder: DINOv2-with-registers in Hugging Face's on-disk names.
        decoder: the official model.pt.
        statistics: the official stat.pt, {'mean', 'var'} of shape (C, H, W).
        pixels: of the images decoded; the encoder looks at 7/8 of that.
        architecture: arguments of `RAEAutoencoder` other than the released ones.

    Raises:
        UserError: a damaged file, or weights or statistics that do not fit.
    """
    arguments = {"encoder_input_size": pixels // 16 * 14, **architecture}
    autoencoder = RAEAutoencoder(**arguments)
    for path, part in ((encoder, "encoder"), (decoder, "decoder")):
        try:
            autoencoder.load_official_state_dict(**{part: read_checkpoint(path)})
        except UserError as error:
            raise _of_file(path, error) from error
    stat = read_checkpoint(statistics)
    lacking = [key for key in ("mean", "var") if not isinstance(stat.get(key), torch.Tensor)]
    if lacking:
        raise UserError(
            f"{statistics}: has no tensor {' and '.join(map(repr, lacking))}; found: {', '.join(map(str, stat))}"
        )
    try:
        autoencoder.set_latent_statistics(stat["mean"], stat["var"])
    except UserError as error:
        raise _of_file(statistics, error) from error
    return autoencoder


def load_rae_folder(folder: Path) -> RAEAutoencoder:
    """RAE stage 1 from a local folder, as `drlbench.backbones.folders` describes it; sizes are read off its files.

    Raises:
        MissingPrerequisite: a file is not there.
        UserError: a damaged file, another kind of encoder, or weights that do not fit.
    """
    files = folder_files(folder)
    config = _read_json(files["config"])
    if config.get("model_type") != MODEL_TYPE:
        raise UserError(f"{files['config']}: describes {config.get('model_type')!r}, not {MODEL_TYPE!r}")
    described = _read_json(files["decoder_config"]) if "decoder_config" in files else {}
    try:
        weights = choose(
            read_checkpoint(files["decoder"]), None, "rae-autoencoder decoder", (DECODER_FINGERPRINT,)
        ).state
        grid, arguments = decoder_architecture(weights, described)
    except UserError as error:
        raise _of_file(files["decoder"], error) from error
    processor = _read_json(files["preprocessor"]) if "preprocessor" in files else {}
    colours = {name: processor[name] for name in ("image_mean", "image_std") if name in processor}
    return load_rae(
        files["encoder"],
        files["decoder"],
        files["statistics"],
        encoder_args=config,
        encoder_input_size=grid * int(config.get("patch_size", 14)),
        **arguments,
        **colours,
    )


def decoder_architecture(weights: Mapping[str, Tensor], described: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """The token grid's side, and `decoder_args` and `decoder_patch_size`, of a decoder's weights.

    Args:
        weights: official names to tensors.
        described: the decoder's config.json, of which the number of heads is taken, because weights do not tell it.

    Raises:
        UserError: a weight that tells a size is missing, or the number of heads is not known.
    """
    try:
        width = weights["decoder_embed.weight"].shape[0]
        hidden = weights["decoder_layers.0.intermediate.dense.weight"].shape[0]
        grid = isqrt(weights["decoder_pos_embed"].shape[1] - 1)
        patch = isqrt(weights["decoder_pred.weight"].shape[0] // 3)
    except KeyError as error:
        raise UserError(f"state dict does not fit rae-autoencoder decoder: 1 missing: {error.args[0]}") from None
    heads = described.get("decoder_num_attention_heads", HEADS.get(width))
    if heads is None:
        raise UserError(
            f"no released decoder is {width} wide, so the number of heads must be said: put "
            '{"decoder_num_attention_heads": N} into decoder/config.json'
        )
    layers = 1 + max(int(key.split(".")[1]) for key in weights if key.startswith("decoder_layers."))
    return grid, {
        "decoder_patch_size": patch,
        "decoder_args": {
            "decoder_hidden_size": width,
            "decoder_intermediate_size": hidden,
            "decoder_num_attention_heads": int(heads),
            "decoder_num_hidden_layers": layers,
        },
    }


def _of_file(path: Path, error: UserError) -> UserError:
    """The same error, with the file it is about in front."""
    return type(error)(str(error) if str(path) in str(error) else f"{path}: {error}")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no readable JSON ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, not an object")
    return content

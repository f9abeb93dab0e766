"""The folder that `drlbench export` writes: a network in its family's official names, and all that is needed to use it.

    model.safetensors     the network, names as its authors' repository loads them
    config.json           family, architecture, autoencoder and the sampling it was measured with
    autoencoder/          of a latent model whose autoencoder was trained here; others are named, not copied
    README.md             the model card

Nothing here imports torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drlbench.errors import UserError

WEIGHTS, CONFIG, CARD, AUTOENCODER = "model.safetensors", "config.json", "README.md", "autoencoder"


class Sampling(BaseModel):
    """How the exported model was sampled where it was measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sampler: str = "heun"
    steps: int | None = None
    precision: Literal["fp32", "bf16"] = "fp32"


class Exported(BaseModel):
    """config.json.

    Attributes:
        format: what tells this config.json from others; its number rises when the layout changes.
        family, architecture: what `drlbench.create` builds the network from.
        autoencoder: "pixels", a card's name or path, or "autoencoder", the folder beside.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["drlbench-model-1"] = "drlbench-model-1"
    family: str
    architecture: dict[str, Any] = Field(default_factory=dict)
    autoencoder: str = "pixels"
    sampling: Sampling = Field(default_factory=Sampling)


def read_exported(path: str | Path) -> Exported | None:
    """What an exported folder says of itself; None for anything else.

    Raises:
        UserError: its config.json is damaged or of another version.
    """
    file = Path(path).expanduser() / CONFIG
    if not file.is_file() or not file.with_name(WEIGHTS).is_file():
        return None
    try:
        content = json.loads(file.read_text())
        if not isinstance(content, dict) or not str(content.get("format", "")).startswith("drlbench-model"):
            return None
        return Exported(**content)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise UserError(f"{file}: is no description of an exported model ({wrong})") from error
    except ValueError as error:
        raise UserError(f"{file}: is not JSON ({error})") from error


def autoencoder_of(path: str | Path, exported: Exported) -> str:
    """The autoencoder of an exported model, as `drlbench.backbones.load` takes it."""
    if exported.autoencoder == AUTOENCODER:
        return str(Path(path).expanduser().resolve() / AUTOENCODER)
    return exported.autoencoder

"""Options that several verbs have."""

from __future__ import annotations

import os
from typing import Annotated

import typer

SetOption = Annotated[list[str], typer.Option("--set", help="Override: key.path=value (repeatable).")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Never touch the network.")]


def offline_from_now() -> None:
    """huggingface_hub and wandb read these when they are imported, so they are set before anything imports them."""
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ["WANDB_MODE"] = "offline"

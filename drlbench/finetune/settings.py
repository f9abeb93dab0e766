"""Settings every algorithm shares."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from drlbench import settings


class Settings(settings.Settings):
    """Optimiser, batch and precision; one subclass per algorithm adds its own fields.

    `lambda` (written so in a suite, `lam` in Python) multiplies the reward: the target is
    p_base(x) exp(lambda r(x)) / Z. `docs/design/finetune.md` says what it becomes in each algorithm.
    """

    lam: float = Field(1.0, gt=0, alias="lambda", description="weight of the reward, where there is one")
    learning_rate: float = Field(1e-5, gt=0, description="peak, of AdamW")
    warmup: int = Field(200, ge=0, description="updates of linear learning-rate warm-up")
    betas: tuple[float, float] = Field((0.9, 0.999), description="Adam's decays of the two moments")
    weight_decay: float = Field(0.0, ge=0, description="decoupled (AdamW); 0 is plain Adam")
    gradient_clip: float | None = Field(None, gt=0, description="largest global gradient norm")
    ema: float | None = Field(
        None, gt=0, lt=1, description="decay of the weight average that is kept; none: last weights"
    )
    batch: int = Field(576, ge=1, description="effective batch: endpoints or trajectories in one update")
    micro_batch: int | None = Field(
        None, ge=1, description="rows in one forward and backward; none: all at once; halved when memory runs out"
    )
    precision: Literal["fp32", "bf16"] = Field("fp32", description="of network forwards; weights and solver stay fp32")
    compile: bool = Field(False, description="torch.compile the velocity with static shapes")
    lora_rank: int | None = Field(None, ge=1, description="train low-rank updates of the linear layers only")
    lora_alpha: float = Field(64.0, gt=0, description="scale of the low-rank update: alpha / rank")
    sharding: Literal["none", "fsdp"] = Field(
        "none", description="fsdp: with several ranks, each keeps its part of weights, gradients and moments"
    )
    activation_checkpointing: bool = Field(False, description="recompute each block's activations in the backward")

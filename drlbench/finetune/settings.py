"""Settings every algorithm shares, and how a mapping from a suite becomes a validated model."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drlbench.errors import UserError, did_you_mean


class Settings(BaseModel):
    """Optimiser, batch and precision; one subclass per algorithm adds its own fields.

    `lambda` (written so in a suite, `lam` in Python) multiplies the reward: the target is
    p_base(x) exp(lambda r(x)) / Z. `docs/design/finetune.md` says what it becomes in each algorithm.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    lam: float = Field(1.0, gt=0, alias="lambda", description="weight of the reward")
    learning_rate: float = Field(1e-5, gt=0)
    warmup: int = Field(200, ge=0, description="updates of linear learning-rate warm-up")
    betas: tuple[float, float] = (0.9, 0.999)
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
    lora_alpha: float = Field(64.0, gt=0)
    sharding: Literal["none", "fsdp"] = Field(
        "none", description="fsdp: with several ranks, each keeps its part of weights, gradients and moments"
    )
    activation_checkpointing: bool = Field(False, description="recompute each block's activations in the backward")


S = TypeVar("S", bound=Settings)


def validated(kind: type[S], given: dict[str, Any], algorithm: str) -> S:
    """Build settings, turning every fault into one line that says where it is and what would be right.

    Raises:
        UserError: an unknown key (with the nearest valid ones), a wrong type or a value out of range.
    """
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        valid = [field.alias or name for name, field in kind.model_fields.items()]
        lines = []
        for fault in error.errors():
            key = ".".join(str(part) for part in fault["loc"])
            if fault["type"] == "extra_forbidden":
                lines.append(f"{algorithm}: unknown setting '{key}'{did_you_mean(key, valid)}")
            else:
                lines.append(f"{algorithm}: setting '{key}': {fault['msg']}, got {fault['input']!r}")
        raise UserError("\n".join(lines)) from error

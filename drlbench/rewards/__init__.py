"""Rewards: differentiable scores of images, fitted here or published. No backbone and no metric is known here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drlbench.errors import UserError
from drlbench.registry import REWARDS, build

if TYPE_CHECKING:
    from drlbench.rewards.base import Reward

__all__ = ["make_reward"]


def make_reward(kind: str, **settings: Any) -> Reward:
    """A frozen reward: images (B, C, H, W) float32 in [0, 1] and labels (B,) int64 -> scores (B,) float32.

    Args:
        kind: registered name: `brisque`, `imagereward`, `pickscore`, `hpsv2.1`, `aesthetic-v2.5`, ...
        settings: as in a suite; `weights` is a path for most published ones.

    Returns:
        the reward, differentiable in the images, with the `signature` that names its weights.

    Raises:
        UserError: no such reward or setting, or one that a suite has to fit first.
        MissingPrerequisite: its weights are not here; the message says how they are got.
    """
    found: type[Reward] = REWARDS.get(kind)
    if found.fitted:
        raise UserError(f"reward '{kind}' is fitted by a suite, so it cannot be had by its name alone; `drlbench run`")
    name = {"name": kind} if found.named_by_suite else {}
    reward: Reward = build(found, f"reward '{kind}'", {**name, **settings})
    return reward.requires_grad_(False).eval()

"""Numbers that are not numbers end a fine-tune before anything is learnt from them, and are named."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from drlbench.errors import Diverged

REMEDY = "lower learning_rate or lambda, or set gradient_clip"


def check_finite(update: int, name: str, values: Tensor, numbers: Sequence[int]) -> None:
    """Hold a batch to being finite.

    Args:
        update: the one under way, from 1.
        values: (B, ...), one sample an entry.
        numbers: (B,) what the samples are called.

    Raises:
        Diverged: an entry is NaN or infinite; names the first sample that has one.
    """
    whole = values.detach().flatten(1).isfinite().all(1) if values.ndim > 1 else values.detach().isfinite()
    if not bool(whole.all()):
        bad = (~whole).nonzero()[:, 0].tolist()
        share = f"{len(bad)} of {len(whole)}"
        raise Diverged(f"update {update}: the {name} of sample {numbers[bad[0]]} is not finite ({share}); {REMEDY}")

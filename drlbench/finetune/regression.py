"""The masked regression of adjoint matching over many rows, in chunks that fit, with one threshold for all.

Shapes: R rows (trajectory, timestep), D latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from drlbench.finetune.finite import check_finite
from drlbench.finetune.memory import Chunks
from drlbench.finetune.outliers import OutlierThreshold
from drlbench.finetune.ranks import all_sum, largest
from drlbench.finetune.updater import Updater


def masked_regression(
    residual_of: Callable[[slice | Tensor], Tensor],
    rows: int,
    weight: float,
    outliers: OutlierThreshold,
    chunks: Chunks,
    updater: Updater,
) -> dict[str, float]:
    """Accumulate the gradient of weight/2 sum |residual|^2 over the rows whose norm is under tau_n.

    tau_n depends on the norms of the whole batch. When the rows do not fit at once, those under
    rho tau_{n-1} <= tau_n are settled on the first pass, and only the few between that and tau_n are run
    again: the result is that of one chunk.

    Args:
        residual_of: rows (a slice or indices) -> scaled residual (r, D) with the policy's graph.
        rows: R.

    Returns:
        `loss` of the kept rows, share `masked`, and the `threshold` tau_n.

    Raises:
        Diverged: a residual is not finite.
    """
    device = updater.parts[0].device
    norms = torch.full((rows,), torch.nan, device=device)
    kept = torch.zeros(rows, dtype=torch.bool, device=device)
    total = torch.zeros((), device=device)
    tau: float | None = None

    def learn(which: slice | Tensor, residual: Tensor, limit: float) -> None:
        keep = (norms[which] < limit) & ~kept[which]  # a norm that is not a number is under no limit
        safe = residual if bool(keep.all()) else torch.where(keep[:, None], residual, 0.0)
        loss = 0.5 * weight * safe.square().sum()
        updater.accumulate(loss)
        kept[which] |= keep
        total.add_(loss.detach())

    def first_pass(piece: slice) -> None:
        nonlocal tau
        whole = piece.stop - piece.start == rows
        learning = whole or outliers.tau is not None
        with torch.set_grad_enabled(learning):
            residual = residual_of(piece)
        norms[piece] = residual.detach().norm(dim=1)
        check_finite(updater.updates + 1, "residual", norms[piece], range(piece.start, piece.stop))
        if whole and tau is None:
            tau = outliers.update(norms)
        if learning:
            learn(piece, residual, outliers.floor if tau is None else tau)

    chunks.run(rows, first_pass)
    if tau is None:
        tau = outliers.update(norms)
        open_rows = (norms < tau) & ~kept
        undecided = open_rows.nonzero()[:, 0]
        # All ranks run a shared network equally often, and a compiled one knows few sizes; a settled row adds nothing.
        wanted = largest(len(undecided)) if updater.sharded else len(undecided)
        if updater.settings.compile and chunks.size is not None:
            wanted = -(-wanted // chunks.size) * chunks.size
        if wanted > len(undecided):
            settled = (~open_rows).nonzero()[:1, 0].expand(wanted - len(undecided))
            undecided = torch.cat([undecided, settled])
        chunks.run(len(undecided), lambda piece: learn(undecided[piece], residual_of(undecided[piece]), tau or 0.0))
    sums = all_sum(torch.stack([total, kept.sum().to(total), torch.full_like(total, rows)]))
    loss, used, count = sums.tolist()
    return {"loss": loss, "masked": 1 - used / count, "threshold": tau}

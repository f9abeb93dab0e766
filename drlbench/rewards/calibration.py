"""How far a discriminator's logit can be trusted as a log density ratio.

Shapes: N real logits, M fake logits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BINS = 15


def auc(real: Tensor, fake: Tensor) -> float:
    """Area under the ROC curve, ties counted half (Mann-Whitney), in float64."""
    scores = torch.cat([real, fake]).double()
    _, inverse, counts = scores.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    mean_rank = last - (counts.double() - 1) / 2
    ranks = mean_rank[inverse[: len(real)]]
    return float((ranks.sum() - len(real) * (len(real) + 1) / 2) / (len(real) * len(fake)))


def balanced_nll(real: Tensor, fake: Tensor) -> Tensor:
    """Logistic loss in nats with both classes weighing half, whatever their numbers."""
    softplus = torch.nn.functional.softplus
    return 0.5 * (softplus(-real).mean() + softplus(fake).mean())


def calibration_report(real: Tensor, fake: Tensor) -> dict[str, Any]:
    """Figures on held-out logits, real (N,) and fake (M,).

    `mean_exp_fake` is E_base[exp r], 1 for a calibrated logit; `effective_sample_share` is
    (sum w)^2/(M sum w^2), w = exp r: how much of the base is left when it is re-weighted to the data.
    `ece` is the expected calibration error over 15 equal bins, the classes weighing half each.
    """
    real, fake = real.double(), fake.double()
    probability = torch.cat([real, fake]).sigmoid()
    label = torch.cat([torch.ones_like(real), torch.zeros_like(fake)])
    weight = torch.cat([torch.full_like(real, 0.5 / len(real)), torch.full_like(fake, 0.5 / len(fake))])
    index = (probability * BINS).long().clamp_max(BINS - 1)
    gap = torch.zeros(BINS, dtype=torch.float64).index_add(0, index.cpu(), (weight * (probability - label)).cpu())
    log_w = torch.logsumexp(fake, 0)
    return {
        "auc": auc(real, fake),
        "accuracy": 0.5 * float((real > 0).double().mean() + (fake <= 0).double().mean()),
        "nll": float(balanced_nll(real, fake)),
        "ece": float(gap.abs().sum()),
        "mean_logit_real": float(real.mean()),
        "mean_logit_fake": float(fake.mean()),
        "mean_exp_fake": float(fake.exp().mean()),
        "effective_sample_share": float(torch.exp(2 * log_w - torch.logsumexp(2 * fake, 0)) / len(fake)),
        "n_real": len(real),
        "n_fake": len(fake),
    }

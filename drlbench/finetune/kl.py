"""KL(p_policy || p_reference) in nats, estimated alike for every algorithm.

KL = int_0^1 w(t) E |v_policy(X_t, t) - v_reference(X_t, t)|^2 dt with w(t) = t/((1 - t) s^2), t = 1 data, where
X_t = t X_1 + (1 - t) s X_0, X_1 the policy's own clean samples and X_0 fresh noise; the square is summed over
dimensions. Exact when both velocities are those of their own marginals, and it needs no likelihood.

Shapes: N samples, J times for each, C channels, H and W height and width of the latent.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from drlbench.backbones.base import VelocityModel
from drlbench.flow.path import interpolate
from drlbench.seeds import derive_seed

ROWS_AT_ONCE, TIMES = 512, 8


@dataclass(frozen=True)
class KLEstimate:
    """Nats, their standard error over samples, the number of samples, and the last time that was looked at."""

    nats: float
    standard_error: float
    samples: int
    t_max: float


def kl_nats(
    policy: VelocityModel,
    reference: VelocityModel,
    latents: Tensor,
    y: Tensor,
    seed: int,
    times_per_sample: int = TIMES,
    t_max: float = 0.98,
    rows_at_once: int = ROWS_AT_ONCE,
) -> KLEstimate:
    """Estimate the divergence of a fine-tuned model from the one it started from.

    Args:
        latents: clean samples of `policy` (N, C, H, W), before decoding; y: their labels (N,).
        seed: of noise and times; policies compared under one seed share both.
        t_max: the integral stops here. The weight grows like 1/(1 - t) while true velocities of smooth densities
            meet like (1 - t); what networks disagree by beyond is error, not divergence. 0.95 for JiT, whose
            velocity is clamped beyond that.

    Returns:
        The estimate; each sample has its own stratified times, so the standard error is that of a mean of N.
    """
    count, device = len(latents), latents.device
    strata = torch.arange(times_per_sample, device=device)
    total = torch.zeros(count, device=device, dtype=torch.float64)
    per = max(1, rows_at_once // times_per_sample)
    for start in range(0, count, per):
        x1, labels = latents[start : start + per], y[start : start + per]
        n = len(x1)
        offsets, noise = [], []
        for i in range(start, start + n):  # a sample's draws are its own, whatever the batch
            generator = torch.Generator(device).manual_seed(derive_seed(seed, i))
            offsets.append(torch.rand(times_per_sample, generator=generator, device=device))
            noise.append(torch.randn(times_per_sample, *x1.shape[1:], generator=generator, device=device))
        t = (strata + torch.stack(offsets)) * (t_max / times_per_sample)  # (n, J)
        xt = interpolate(policy.noise_scale * torch.stack(noise), x1[:, None], t)  # (n, J, C, H, W)
        flat, rows_t = xt.flatten(0, 1), t.flatten()
        rows_y = labels.repeat_interleave(times_per_sample)
        with torch.no_grad():
            gap = policy.velocity(flat, rows_t, rows_y).float() - reference.velocity(flat, rows_t, rows_y).float()
        square = gap.flatten(1).double().square().sum(1).view(n, times_per_sample)
        weight = t / ((1 - t) * policy.noise_scale**2)
        total[start : start + n] = t_max * (weight * square).mean(1)
    error = float(total.std() / count**0.5) if count > 1 else float("nan")
    return KLEstimate(float(total.mean()), error, count, t_max)

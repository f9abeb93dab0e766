"""KL(p_policy || p_reference) in nats and the ratio of both velocities' norms, estimated alike for every algorithm.

KL = int_0^1 w(t) E |v_policy(X_t, t) - v_reference(X_t, t)|^2 dt with w(t) = t/((1 - t) s^2), t = 1 data, where
X_t = t X_1 + (1 - t) s X_0, X_1 the policy's own clean samples and X_0 fresh noise; the square is summed over
dimensions. Exact when both velocities are those of their own marginals, and it needs no likelihood. The ratio is the
mean over the same X_t and t of |v_policy(X_t, t)| / |v_reference(X_t, t)|: 1 where nothing changed.

Shapes: N samples, J times for each, C channels, H and W height and width of the latent, D = C H W.
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
    """What the two velocities say of how far a policy went.

    Attributes:
        nats: the divergence; standard_error: over samples.
        samples: how many; t_max: the last time that was looked at.
        norm_ratio: mean of |v_policy| / |v_reference|, infinite or NaN where a reference stands still;
            norm_ratio_error: its standard error over samples.
    """

    nats: float
    standard_error: float
    samples: int
    t_max: float
    norm_ratio: float
    norm_ratio_error: float


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
    total, ratio = torch.zeros(2, count, device=device, dtype=torch.float64)
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
            ours = policy.velocity(flat, rows_t, rows_y).float().flatten(1)  # (n J, D)
            theirs = reference.velocity(flat, rows_t, rows_y).float().flatten(1)
        square = (ours - theirs).double().square().sum(1).view(n, times_per_sample)
        weight = t / ((1 - t) * policy.noise_scale**2)
        total[start : start + n] = t_max * (weight * square).mean(1)
        norms = (ours.double().norm(dim=1) / theirs.double().norm(dim=1)).view(n, times_per_sample)
        ratio[start : start + n] = norms.mean(1)
    return KLEstimate(float(total.mean()), _error(total), count, t_max, float(ratio.mean()), _error(ratio))


def _error(per_sample: Tensor) -> float:
    """Standard error of the mean of (N,) samples; NaN of a single one."""
    return float(per_sample.std() / len(per_sample) ** 0.5) if len(per_sample) > 1 else float("nan")

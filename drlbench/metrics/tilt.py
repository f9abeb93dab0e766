"""The exact optimum of a reward under KL, read off weighted base samples: p*(x|y) = p_base(x|y) exp(l(x))/Z(y).

With l = lambda r the attainable objective is E*[l] - KL(p*|p_base) = mean over classes of log Z, and for any policy
    KL(policy|p*) = (E*[l] - KL*) - (E_policy[l] - KL(policy|p_base)),
so that what a run misses of the attainable is its distance from the tilt in nats. Weights are self-normalised within
each class, because the class marginal is given. They are as good as their effective share (sum w)^2/(n sum w^2).

Shapes: n base samples, D dimensions, R resamples, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from drlbench.errors import UserError
from drlbench.metrics.base import Measurement
from drlbench.metrics.bootstrap import first_order
from drlbench.metrics.frechet import Gaussian
from drlbench.metrics.inputs import as_features, same_dimension

Array = NDArray[np.float64]
Counts = NDArray[np.integer[Any]]

SHARE_REFUSED, SHARE_FLAGGED = 0.01, 0.1  # of the samples that carry the weights
DRAWS = 8  # of the start, where it is to have as few samples as a tilt


@dataclass(frozen=True)
class Tilt:
    """Self-normalised weights of base samples.

    Attributes:
        weights: (n,) float64, mean 1 in each class.
        log_weights: (n,) the l(x) they are made of.
        labels: (n,) class of each sample.
    """

    weights: Array
    log_weights: Array
    labels: NDArray[np.integer[Any]]

    @staticmethod
    def of(log_weights: Any, labels: NDArray[np.integer[Any]]) -> Tilt:
        """From l (n,) and labels (n,).

        Raises:
            UserError: the shapes differ, or a value is not finite.
        """
        values = np.asarray(log_weights, dtype=np.float64)
        if values.ndim != 1 or values.shape != labels.shape:
            raise UserError(f"log-weights of shape {values.shape} for labels of shape {labels.shape}")
        if not np.isfinite(values).all():
            raise UserError(f"{(~np.isfinite(values)).sum()} log-weights are NaN or infinite")
        weights = np.zeros(len(values))
        for c in np.unique(labels):
            own = labels == c
            raw = np.exp(values[own] - values[own].max())
            weights[own] = raw / raw.mean()
        return Tilt(weights, values, labels)

    @property
    def share(self) -> float:
        """Effective share of the samples, in (0, 1]."""
        return float(self.weights.sum() ** 2 / (len(self.weights) * np.square(self.weights).sum()))

    @property
    def usable(self) -> bool:
        """False where so few samples carry the weights that no number of the tilt means anything."""
        return self.share >= SHARE_REFUSED

    def notes(self) -> tuple[str, ...]:
        """A warning where few samples carry the weights."""
        if self.share >= SHARE_FLAGGED:
            return ()
        left = self.share * len(self.weights)
        told = "refused" if not self.usable else "read with care"
        return (f"the tilt rests on {left:.0f} of {len(self.weights)} samples of the start ({self.share:.1%}): {told}",)

    def mean(self, metric: str, values: Array, counts: Counts, better: str = "higher") -> Measurement:
        """Mean of per-sample `values` (n,) under the tilt, balanced over classes."""
        centred = np.zeros(len(values))
        means = []
        for c in np.unique(self.labels):
            own = self.labels == c
            means.append(float(self.weights[own] @ values[own] / self.weights[own].sum()))
            centred[own] = values[own] - means[-1]
        value = float(np.mean(means))
        return self._measured(metric, value, self._influence(centred), counts, better)

    def objective(self, counts: Counts) -> list[Measurement]:
        """`tilt_objective`, the mean over classes of log Z; `tilt_kl_nats` = E*[l] - log Z; and the effective share."""
        logs, means, log_z, nats = [], [], np.zeros(len(self.weights)), np.zeros(len(self.weights))
        for c in np.unique(self.labels):
            own = self.labels == c
            top = self.log_weights[own].max()
            logs.append(top + float(np.log(np.exp(self.log_weights[own] - top).mean())))
            means.append(float(self.weights[own] @ self.log_weights[own] / own.sum()))
            log_z[own] = self.weights[own] - 1.0
            nats[own] = self.weights[own] * (self.log_weights[own] - means[-1]) - log_z[own]
        n = len(self.weights)
        share = Measurement(
            "tilt_effective_share", self.share, float("nan"), float("nan"), n, "higher", None, self.notes()
        )
        return [
            self._measured("tilt_objective", float(np.mean(logs)), log_z / n, counts, "higher"),
            self._measured("tilt_kl_nats", float(np.mean(means) - np.mean(logs)), nats / n, counts, "lower"),
            share,
        ]

    def frechet(self, metric: str, features: Any, reference: Any, counts: Counts) -> Measurement:
        """Frechet distance of the tilt to a reference: weighted moments, unbiased for the spread of the weights.

        The interval is that of the first-order expansion in the samples' weights, as for `frechet_distance`.
        """
        distance, influence = self._frechet(as_features(features), Gaussian.of(reference, "reference"))
        return self._measured(metric, distance, influence, counts, "lower")

    def gain(self, metric: str, features: Any, reference: Any, counts: Counts, seed: int) -> Measurement:
        """Frechet distance of the start over that of the tilt, both of as many samples as carry the tilt's weights.

        An estimated distance of n samples is biased upwards as 1/n, and the tilt's n is its effective one: beside the
        start's of all samples it would look far too large. The start's is the mean over `DRAWS` draws. The interval is
        that of the log of the ratio over the same samples, to first order.
        """
        x, real = as_features(features), Gaussian.of(reference, "reference")
        few = max(2, round(self.share * len(x)))
        start = Tilt.of(np.zeros(len(x)), self.labels)
        drawn = [start.draw(few, seed + i) for i in range(DRAWS)]
        before = float(np.mean([Tilt.of(np.zeros(few), self.labels[d])._frechet(x[d], real)[0] for d in drawn]))
        (after, own), (_, common) = self._frechet(x, real), start._frechet(x, real)
        log = first_order(metric, math.log(before / after), common / before - own / after, counts, "higher", n=few)
        value, low, high = (math.exp(v) for v in (log.value, log.low, log.high))
        replicates = None if log.replicates is None else np.exp(log.replicates)
        notes = (*log.notes, *self.notes())
        return Measurement(metric, value, low, high, few, "higher", replicates, notes, log.details)

    def _frechet(self, x: Array, real: Gaussian) -> tuple[float, Array]:
        """The distance, and its derivatives (n,) in the samples' weights."""
        same_dimension(x.shape[1], real.mean.size)
        p = self.weights / self.weights.sum()
        mean = p @ x
        centred = x - mean
        unbias = 1.0 / (1.0 - float(np.square(p).sum()))
        covariance = unbias * (centred * p[:, None]).T @ centred
        root = real.root  # (D, r)
        values, vectors = linalg.eigh(root.T @ covariance @ root)
        kept = values > values.max(initial=0.0) * 1e-12
        scale = np.sqrt(values[kept])
        gap = mean - real.mean
        distance = float(gap @ gap + np.trace(covariance) + real.trace - 2.0 * scale.sum())
        half = (root @ vectors[:, kept]) / np.sqrt(scale)  # map of optimal transport = half halfT
        influence = 2.0 * centred @ gap + unbias * (np.square(centred).sum(1) - np.square(centred @ half).sum(1))
        return distance, p * (influence - p @ influence)

    @staticmethod
    def operations(n: int, real: int, width: int) -> float:
        """What one distance of n samples to `real` images takes on the CPU, roughly, for a plan."""
        rank = min(width, real)
        return float(2 * n * width**2 + 2 * rank * width * (width + 2 * n) + 10 * rank**3)

    def draw(self, count: int, seed: int) -> NDArray[np.intp]:
        """`count` sample indices, equally many of each class, without repetition, in the order of classes.

        Drawing without repetition leans towards the base where few samples carry the weights; repetitions would put
        points on top of each other, which neighbour distances do not survive.

        Raises:
            UserError: a class has fewer samples than are to be drawn.
        """
        rng = np.random.default_rng(seed)
        chosen = []
        classes = np.unique(self.labels)
        for i, c in enumerate(classes):
            own = np.flatnonzero(self.labels == c)
            wanted = (count + len(classes) - 1 - i) // len(classes)
            if wanted > len(own):
                raise UserError(f"{wanted} samples of class {c} are to be drawn from {len(own)}; raise tilt_samples")
            with np.errstate(divide="ignore"):
                keys = np.log(self.weights[own]) + rng.gumbel(size=len(own))
            chosen.append(np.sort(own[np.argsort(-keys, kind="stable")[:wanted]]))
        return np.concatenate(chosen)

    def _influence(self, centred: Array) -> Array:
        """Of a class-balanced weighted mean, from values less their class's mean."""
        return self.weights * centred / len(self.weights)

    def _measured(self, metric: str, value: float, influence: Array, counts: Counts, better: str) -> Measurement:
        return first_order(metric, value, influence, counts, better, self.notes())

"""Inception score (Salimans et al. 2016): exp of the mean KL(p(y|x) ‖ p(y)), float64 except where ADM is followed.

Shapes: n samples, C classes of the classifier (1008 for the 2015 Inception graph), S splits.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from drlbench.errors import UserError, did_you_mean
from drlbench.metrics.base import Evidence, Measurement, Metric
from drlbench.metrics.bootstrap import counts_or_default, first_order
from drlbench.metrics.inputs import as_features

Array = NDArray[np.float64]
CONVENTIONS = ("torch-fidelity", "adm", "dgm-eval")


def _divergences(log_p: Array) -> Array:
    """KL(p(y|x) ‖ p(y)) of every sample (n,) in nats."""
    p = np.exp(log_p)
    marginal = p.mean(0)
    log_marginal = np.log(marginal, out=np.zeros_like(marginal), where=marginal > 0)
    return np.einsum("nc,nc->n", p, log_p - log_marginal)


def _adm_score(log_p: Array) -> np.float32:
    """One part's score with ADM's arithmetic: float32 throughout, for agreement to the last digit."""
    p = np.exp(log_p).astype(np.float32)
    ratio = np.log(np.maximum(p, np.finfo(np.float32).tiny)) - np.log(np.maximum(p.mean(0), np.finfo(np.float32).tiny))
    return np.float32(np.exp(np.mean(np.sum(p * ratio, axis=1))))


def _parts(n: int, splits: int, convention: str, split_size: int) -> list[slice]:
    if convention == "adm":
        return [slice(i, min(i + split_size, n)) for i in range(0, n, split_size)]
    if convention == "dgm-eval":  # drops the n mod S last samples
        size = n // splits
        return [slice(i * size, (i + 1) * size) for i in range(splits)]
    return [slice(i * n // splits, (i + 1) * n // splits) for i in range(splits)]


def inception_score(
    logits: Any,
    *,
    splits: int = 10,
    shuffle: bool = True,
    seed: int = 2020,
    convention: str = "torch-fidelity",
    split_size: int = 5000,
    counts: NDArray[np.integer[Any]] | None = None,
    resamples: int = 200,
) -> Measurement:
    """Inception score of bias-free logits (n, C): mean over splits.

    Args:
        splits, shuffle, seed: torch-fidelity and dgm-eval (which drops the remainder) average over `splits` parts of
            the samples shuffled with RandomState(seed).
        convention: "torch-fidelity", "dgm-eval", or "adm": parts of `split_size` in the given order, so samples
            sorted by class must be shuffled by the caller first; in float32 as ADM's evaluator computes it, which
            is 3e-7 off.
        counts, resamples: as for `frechet_distance`; the first-order bootstrap of the score over all samples.

    Returns:
        A Measurement; details: standard_deviation over splits (ddof 0), splits.

    Raises:
        UserError: malformed logits, unknown convention, or fewer samples than splits.
    """
    array = as_features(logits, "logits", minimum=1)
    n = len(array)
    if convention not in CONVENTIONS:
        raise UserError(
            f"unknown inception score convention '{convention}'{did_you_mean(convention, CONVENTIONS)}; "
            f"valid: {', '.join(CONVENTIONS)}"
        )
    if convention != "adm" and not 1 <= splits <= n:
        raise UserError(f"{n} samples cannot be parted into {splits} splits")
    log_p = log_softmax(array, axis=1)
    order = np.arange(n)
    if shuffle and convention != "adm":
        order = np.random.RandomState(seed).permutation(n)  # the frozen stream of the tools
    parts = _parts(n, splits, convention, split_size)
    if convention == "adm":
        scores = np.array([_adm_score(log_p[part]) for part in parts])
    else:
        scores = np.array([np.exp(_divergences(log_p[order[part]]).mean()) for part in parts])
    value = float(scores.mean())
    divergence = _divergences(log_p)
    resampling = counts_or_default(counts, n, resamples)
    details = {"standard_deviation": float(scores.std()), "splits": float(len(parts))}
    return first_order("inception_score", value, value * divergence / n, resampling, "higher", (), details)


class InceptionScore(Metric):
    """`inception_score`, in a space whose features are a classifier's logits (such as inception-logits)."""

    needs: ClassVar[Literal["features", "images"]] = "features"

    @classmethod
    def operations(cls, n: int, train: int, heldout: int, width: int, resamples: int) -> float:
        """The entropy of every sample's classes."""
        return float(20 * n * width)

    def measure(self, evidence: Evidence) -> list[Measurement]:
        """inception_score with torch-fidelity's splits."""
        evidence.require("inception-score", "features")
        return [inception_score(evidence.features, counts=evidence.counts)]

"""The five image statistics in which preference optimisation drifts, per image on RGB in [0, 1], float64.

brightness: mean of Y = 0.299 R + 0.587 G + 0.114 B;  contrast: standard deviation of Y over pixels;  saturation: mean
of (max − min) / max over channels, 0 where max = 0;  colourfulness (Hasler & Süsstrunk 2003): √(s_rg² + s_yb²) +
0.3 √(m_rg² + m_yb²) of rg = R − G, yb = (R + G)/2 − B;  whiteness: mean of min(R, G, B).

All but saturation and whiteness follow from the first and second moments of the channels, which are whole numbers
and therefore exact here.

Shapes: n images, H and W height and width, C channels (1 or 3), P = H W pixels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from drlbench.errors import UserError
from drlbench.metrics.base import Evidence, Measurement, Metric
from drlbench.metrics.bootstrap import of_mean, resample_counts

Array = NDArray[np.float64]

COLOUR = ("brightness", "saturation", "contrast", "colourfulness", "whiteness")
GREY = ("brightness", "contrast")
SUBSET = "_subset"
LUMA = np.array([0.299, 0.587, 0.114])
RED_GREEN = np.array([1.0, -1.0, 0.0])
YELLOW_BLUE = np.array([0.5, 0.5, -1.0])
BLOCK_PIXELS = 1 << 19


def _of_block(images: NDArray[np.uint8]) -> dict[str, Array]:
    n, height, width, channels = images.shape
    pixels = images.reshape(n, height * width, channels).astype(np.float64)  # (n, P, C)
    total = height * width
    mean = pixels.sum(1) / total  # (n, C), on 0..255
    second = pixels.transpose(0, 2, 1) @ pixels / total  # (n, C, C)
    covariance = second - mean[:, :, None] * mean[:, None, :]

    def spread(direction: Array) -> Array:
        return np.einsum("c,ncd,d->n", direction, covariance, direction)

    if channels == 1:
        return {"brightness": mean[:, 0] / 255.0, "contrast": np.sqrt(spread(np.ones(1)).clip(0.0)) / 255.0}
    red, green, blue = (images[..., c].reshape(n, total) for c in range(3))
    top = np.maximum(np.maximum(red, green), blue)
    bottom = np.minimum(np.minimum(red, green), blue)
    saturation = (top - bottom) / np.maximum(top, 1, dtype=np.float64)  # top ≥ bottom: no wrap in uint8
    spreads = spread(RED_GREEN) + spread(YELLOW_BLUE)
    means = (mean @ RED_GREEN) ** 2 + (mean @ YELLOW_BLUE) ** 2
    return {
        "brightness": mean @ LUMA / 255.0,
        "saturation": saturation.mean(1),
        "contrast": np.sqrt(spread(LUMA).clip(0.0)) / 255.0,
        "colourfulness": (np.sqrt(spreads.clip(0.0)) + 0.3 * np.sqrt(means)) / 255.0,
        "whiteness": bottom.mean(1) / 255.0,
    }


def image_statistics(images: NDArray[np.uint8]) -> dict[str, Array]:
    """Per-image statistics (n,) float64 of images (n, H, W, 3) uint8; of grey ones (n, H, W, 1) only brightness and
    contrast, because the others say nothing about a single channel.

    Raises:
        UserError: not uint8 images of 1 or 3 channels.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3) or not images.size:
        raise UserError(f"images of dtype {images.dtype} and shape {images.shape}; need uint8 (n, H, W, 1 or 3)")
    step = max(BLOCK_PIXELS // (images.shape[1] * images.shape[2]), 1)
    parts = [_of_block(images[i : i + step]) for i in range(0, len(images), step)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def statistic_measurements(
    values: dict[str, Array],
    counts: NDArray[np.integer[Any]] | None,
    reference: dict[str, Array] | None = None,
) -> list[Measurement]:
    """Means over images with their resampled means; details reference and drift (value − reference) if known."""
    results = []
    for name, per_image in values.items():
        value = float(per_image.mean())
        details: dict[str, float] = {}
        if reference is not None and name in reference:
            target = float(reference[name].mean())
            details = {"reference": target, "drift": value - target}
        results.append(of_mean(name, per_image, counts, "closer", details))
    return results


def first_of_each_class(labels: NDArray[np.integer[Any]], count: int) -> NDArray[np.intp]:
    """Indices, ascending, of the first `count` samples of each class in labels (n,); of all where a class has fewer."""
    order = np.argsort(labels, kind="stable")
    sorted_labels = labels[order]
    place = np.arange(len(labels)) - np.searchsorted(sorted_labels, sorted_labels)  # within its class
    return np.sort(order[place < count])


def subset_statistics(
    images: NDArray[np.uint8], labels: NDArray[np.integer[Any]], per_class: int, num_classes: int, resamples: int
) -> list[Measurement]:
    """Every statistic as `<name>_subset`, on the first `per_class` samples of each class.

    With 3 of 1,000 classes the protocol of arXiv 2606.19162: 3,000 images, whose seeds all checkpoints share. The same
    images of real data are the row that a drift is taken from. A note says where classes have fewer.
    """
    chosen = first_of_each_class(labels, per_class)
    values = {f"{name}{SUBSET}": value for name, value in image_statistics(images[chosen]).items()}
    found = statistic_measurements(values, resample_counts(len(chosen), resamples))
    if len(chosen) == per_class * num_classes:
        return found
    short = f"{{}}: on {len(chosen)} images, as not every one of {num_classes} classes has {per_class}"
    return [replace(m, notes=(*m.notes, short.format(m.metric))) for m in found]


class ImageStatistics(Metric):
    """brightness, saturation, contrast, colourfulness, whiteness, and their drift from held-out images."""

    needs: ClassVar[Literal["features", "images"]] = "images"

    @classmethod
    def operations(cls, n: int, train: int, heldout: int, width: int, resamples: int) -> float:
        """Some thirty operations for every value of an image."""
        return float(30 * (n + heldout) * width + 20 * n * resamples)

    def measure(self, evidence: Evidence) -> list[Measurement]:
        """One measurement per statistic that means something for the images' channels."""
        evidence.require("stats", "images")
        assert evidence.images is not None
        reference = None if evidence.reference_images is None else image_statistics(evidence.reference_images)
        return statistic_measurements(image_statistics(evidence.images), evidence.counts, reference)

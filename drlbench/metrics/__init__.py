"""Distribution metrics and image statistics: numpy and scipy only, float64, every number with its interval."""

from drlbench.metrics.base import Evidence, Measurement, Metric
from drlbench.metrics.bootstrap import resample_counts
from drlbench.metrics.cmmd import cmmd
from drlbench.metrics.frechet import Gaussian, frechet_distance
from drlbench.metrics.inception_score import inception_score
from drlbench.metrics.kernel import kernel_distance
from drlbench.metrics.manifold import class_coverage, density_coverage, precision_recall
from drlbench.metrics.statistics import image_statistics

__all__ = [
    "Evidence",
    "Gaussian",
    "Measurement",
    "Metric",
    "class_coverage",
    "cmmd",
    "density_coverage",
    "frechet_distance",
    "image_statistics",
    "inception_score",
    "kernel_distance",
    "precision_recall",
    "resample_counts",
]

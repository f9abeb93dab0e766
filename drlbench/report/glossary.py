"""What each column and metric of results.csv means; `python -m drlbench.report.glossary` writes docs/results.md."""

from __future__ import annotations

from pathlib import Path

from drlbench.report.results import COLUMNS

DOCUMENT = "docs/results.md"

MEANING = {
    "suite": "name of the suite",
    "backbone": "name of the backbone in the suite; empty for the real images",
    "run": "cell family: `base`, `sft`, `drl`, `base+prl`, ...; `data`: the real held-out images, measured alike",
    "reward": "what was maximised, terms joined by +",
    "algorithm": "kind of the algorithm",
    "lambda": "weight of the reward against the KL; of the preference beside the discriminator's 1 for `combined`",
    "seed": "`<base seed>.<RL seed>`",
    "guidance": "name of the guidance in the suite",
    "cfg": "guidance scale; 1 is none",
    "cfg_low": "start of the part of t in [0, 1] where guidance applies",
    "cfg_high": "its end",
    "space": "feature space; empty for metrics that use none",
    "metric": "name, as in the table below, or a reward's own name (mean reward over the samples)",
    "value": "the number; `nan` where it could not be computed",
    "low": "lower end of the 95 % sampling interval, checkpoint fixed; empty where none is known",
    "high": "its upper end",
    "n": "generated samples it was measured on",
    "better": "`lower`, `higher`, or `closer` (to the row of `data`; to 1 for `velocity_norm_ratio`)",
    "signature": "all the number depends on: encoder and reward weights, reference, sampler, n, code",
    "policy": "the second network beside the start's that the run trained: `widen=W depth=D`; empty without one",
}

# metric -> (what it is, formula, source); m, C are mean and covariance of features, P generated, Q reference.
METRICS = {
    "fd": (
        "Fréchet distance to the training images",
        "\\|m_P - m_Q\\|^2 + tr(C_P + C_Q - 2 (C_P C_Q)^(1/2))",
        "Heusel et al. 2017, arXiv:1706.08500; in DINOv2 Stein et al. 2023, arXiv:2306.04675",
    ),
    "fd_val": ("the same to held-out images", "as `fd`, Q the held-out images", "as `fd`"),
    "fdr": (
        "`fd` in units of what real images get; 1: as far from the training images as held-out ones are",
        "fd(P, train) / fd(held-out, train)",
        "Yang et al. 2026, arXiv:2604.28190, with our held-out images",
    ),
    "fdr_mean": (
        "mean of `fdr` over the suite's spaces; the published FDr^6 is over six networks that are not all here",
        "mean over spaces of fd(P, train) / fd(held-out, train)",
        "as `fdr`",
    ),
    "fdr_mean_held_out": ("the same over the spaces that no reward of the suite looks through", "as above", "as `fdr`"),
    "fd_infinity": (
        "`fd` at infinitely many generated samples; its interval holds the law's own distance, `fd`'s does not",
        "intercept of fd over 1/n, 15 random parts of n/10 to n samples",
        "Chong and Forsyth 2020, arXiv:1911.07023",
    ),
    "mind": (
        "Monge inception distance to held-out images: sliced Wasserstein on the scale of `fd`",
        "3 d mean over 1,000 directions u of W_2^2(u·P, u·Q), as many of P as of Q",
        "Berthet et al. 2026, arXiv:2605.06797",
    ),
    "kd_x1000": (
        "kernel distance, times 1000",
        "unbiased MMD^2 with k(x, y) = (x·y / d + 1)^3, mean over subsets",
        "Bińkowski et al. 2018, arXiv:1801.01401",
    ),
    "cmmd": (
        "CLIP maximum mean discrepancy",
        "1000 MMD^2 with a Gaussian kernel of width 10 on unit-norm features",
        "Jayasumana et al. 2024, arXiv:2401.09603",
    ),
    "precision": (
        "share of generated images inside the real manifold",
        "P within the distance of some Q to its k-th neighbour",
        "Kynkäänniemi et al. 2019, arXiv:1904.06991",
    ),
    "recall": ("share of real images inside the generated manifold", "`precision` with P and Q exchanged", "as above"),
    "density": (
        "how many real neighbourhoods hold a generated image",
        "mean count of Q whose k-ball holds P, over k",
        "Naeem et al. 2020, arXiv:2002.09797",
    ),
    "coverage": ("share of real neighbourhoods with a generated image", "Q whose k-ball holds some P", "as above"),
    "variance_within": (
        "variance of the features inside the classes",
        "mean over classes of tr C_P of the class",
        "ours",
    ),
    "variance_between": (
        "and between them",
        "tr C of the classes' means, less the means' own noise",
        "ours",
    ),
    "class_coverage": (
        "coverage inside each class",
        "mean over the reference's classes, 0 if left out",
        "ours",
    ),
    "copied": (
        "share of samples nearer to a train image than any other train image is to that one",
        "1 - authenticity; the held-out images' own share beside it",
        "Alaa et al. 2022, arXiv:2102.08921",
    ),
    "nearer_than_heldout": (
        "chance that a sample is nearer to the train images than a held-out image is: .5, and more with copying",
        "Mann-Whitney's U / (n m) of distances to the nearest train image",
        "Meehan et al. 2020, arXiv:2004.05675",
    ),
    "inception_score": (
        "Inception score",
        "exp E KL(p(y|x) \\|\\| p(y))",
        "Salimans et al. 2016, arXiv:1606.03498",
    ),
    "brightness": ("image statistic in [0, 1]", "mean of Y = 0.299 R + 0.587 G + 0.114 B", "ITU-R BT.601"),
    "contrast": ("image statistic", "standard deviation of Y over pixels", "as above"),
    "saturation": ("image statistic in [0, 1]", "mean of (max - min) / max over channels", "HSV"),
    "colourfulness": (
        "image statistic",
        "(s_rg^2 + s_yb^2)^(1/2) + 0.3 (m_rg^2 + m_yb^2)^(1/2)",
        "Hasler and Süsstrunk 2003",
    ),
    "whiteness": ("image statistic in [0, 1]", "mean of min(R, G, B)", "ours"),
    "*_subset": (
        "the image statistic before the suffix, on the first `stats_per_class` samples of each class",
        "as above; 3 of 1,000 classes are the paper's 3,000 images",
        "arXiv:2606.19162",
    ),
    "out_of_range": ("share of values the model put outside the images' range before clipping", "mean", "ours"),
    "kl_nats": (
        "KL of the fine-tuned model from its base, in nats a sample",
        "E of half the integral of \\|u\\|^2 over the memoryless SDE, u the drift's change over sigma",
        "Domingo-Enrich et al. 2024, arXiv:2409.08861",
    ),
    "kl_start_nats": ("the same from the other run's model that it starts from", "as above", "as above"),
    "velocity_norm_ratio": (
        "length of the fine-tuned model's velocity, in units of its base's: 1 unchanged, above 1 longer",
        "mean over samples and t in [0, 0.95] of \\|v(X_t, t)\\| / \\|v_base(X_t, t)\\|, at the X_t of `kl_nats`",
        "ours",
    ),
    "attainable_share": (
        "share of the objective that the exact optimum (tilt) of its first round gains over the start",
        "(J - J_start) / (J_tilt - J_start), J = E r - KL",
        "ours",
    ),
    "tilt_*": (
        "the metric after the prefix, of the exact optimum: base samples weighted by exp(l), l the reward terms",
        "self-normalised importance weights; `tilt_effective_share` is (sum w)^2 / (n sum w^2)",
        "ours",
    ),
    "tilt_fd_gain": (
        "what the exact optimum gains in FD: above 1 it is nearer to the train images than its start",
        "FD of the start over FD of the tilt; the start has as many samples as the tilt effective ones (8 draws)",
        "ours",
    ),
    "tilt_gap_nats": ("distance to the exact optimum", "J_tilt - J = KL(model \\|\\| tilt)", "ours"),
    "nats_per_reward": (
        "what the reward's gain cost; left out where the gain is not measurable",
        "KL from the start / (E r - E_start r); interval: Fieller's",
        "ours",
    ),
}


def document() -> str:
    """docs/results.md."""
    lines = [
        "# What a run's numbers mean",
        "Made by `python -m drlbench.report.glossary`; a test holds it to the code. Files: `design/run-folder.md`.",
        "In Python: `drlbench.load_run(PATH)` gives `results`, `frontier`, `curves` and `cells` as pandas frames.",
        "",
        "## Columns of results.csv",
        "| column | meaning |",
        "|---|---|",
        *(f"| `{c}` | {MEANING[c].replace('|', chr(92) + '|')} |" for c in COLUMNS),
        "",
        "## Metrics",
        "P are the generated images, Q the reference, m and C mean and covariance of their features in `space`.",
        "",
        "| metric | what | formula | source |",
        "|---|---|---|---|",
        *(f"| `{name}` | {what} | {formula} | {source} |" for name, (what, formula, source) in METRICS.items()),
        "",
        "## Intervals",
        "`low`, `high`: the samples drawn again, the checkpoint fixed (paired bootstrap). The page, `table.csv` and",
        "`summary.json` also say one over seeds where there are two or more: Student t over the seeds, plus the",
        "sampling noise that seeds share. Coverage of both: `precision.md`.",
        "",
        "## Scorecard and verdict",
        "One checkpoint a family. `x` of FD is base / run, above 1 is better. Preference gains are in standard",
        "deviations of the base's samples. With one seed all is `sampling only`; with several, `probability over",
        "seeds` is the chance that one front's hypervolume exceeds the other's, the seed of training drawn anew.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    Path(DOCUMENT).write_text(document(), encoding="utf-8")

"""Scoring any set of images against any reference: what `drlbench eval` does.

One pass over the images fills every space and the statistics; preference rewards take a second one. A metric that
cannot be measured is reported and the others are kept. Comparisons that are unsound are measured and said to be.

Shapes: n generated, m reference images, H and W height and width, C channels, D feature dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drlbench.data import classes
from drlbench.data.images import ImageSource, holds_images, images_of_npz, open_images
from drlbench.encoders.base import Encoder
from drlbench.errors import UserError, shown
from drlbench.evaluate.names import ON_MOMENTS, OWN_OUTPUT, SFID, canonical, reward_for, spaces_for
from drlbench.evaluate.spaces import Fitted
from drlbench.evaluate.table import Row, Table
from drlbench.features.extract import Extraction, FeatureCache, NonFiniteFeatures, extract_all
from drlbench.features.reference import Reference, is_statistics, read_reference
from drlbench.metrics.base import Evidence, Measurement
from drlbench.metrics.bootstrap import resample_counts
from drlbench.metrics.inputs import same_dimension
from drlbench.metrics.preference import mean_score
from drlbench.metrics.signature import make_signature
from drlbench.metrics.statistics import image_statistics, statistic_measurements
from drlbench.registry import METRICS, REWARDS
from drlbench.rewards.scoring import score_images

# What statistics files of other tools call the space of one of our networks.
FOREIGN_SPACES = {"inception-v3": "fid", "dinov2": "fd_dinov2"}


def evaluate(
    images: Path | str | ImageSource,
    reference: Path | str | ImageSource | None,
    metrics: Sequence[str],
    encoders: Mapping[str, Callable[[], Encoder] | Fitted],
    *,
    rewards: Mapping[str, Callable[[], Any]] | None = None,
    cache: Path | None = None,
    batch_size: int = 64,
    resamples: int = 200,
    workers: int = 2,
    progress: Callable[[str, int], Any] | None = None,
) -> Table:
    """Measure images against a reference.

    Args:
        images: a folder, npz, npy, parquet or a run's samples.
        reference: the same kinds, or a statistics file (then only fd can be measured against it), or None for metrics
            that need none.
        metrics: names of METRICS or REWARDS; also sfid (fd in spaces named `…/spatial`), and is, fid, kid,
            fid-infinity for inception-score, fd, kd, fd-infinity.
        encoders: space name -> how to get its encoder; none is built when no metric on features is asked for. Every
            such metric is measured in every space, but the Inception score only in spaces named `…/logits_unbiased`,
            which no other metric uses.
        rewards: reward name -> how to build it; by default the registered class with its defaults.
        cache: folder of feature chunks kept by content; an interrupted evaluation goes on from it.
        batch_size, workers: speed only; results agree to about 1e-6.
        resamples: bootstrap resamples of the intervals.
        progress: called with what is going on and the number of images done.

    Raises:
        UserError: unknown metric, unreadable images or reference. What concerns one space or metric only is kept in
            `failures`, and the rest is measured.
    """
    metrics = canonical(metrics)
    source = open_images(images, workers) if isinstance(images, (str, Path)) else images
    if source.n < 2:
        raise UserError(f"{source.where}: only 1 image; a distribution needs at least 2")
    table = Table()
    target, reals = open_reference(reference, workers, metrics)
    if all(metric == "stats" or metric in REWARDS.names() for metric in metrics):
        encoders = {}
    networks = _load(table, encoders, reals)
    store = FeatureCache(cache) if cache is not None else None
    stats = image_statistics if "stats" in metrics else None

    def run(what: str, images: ImageSource) -> Extraction:
        report = None if progress is None else (lambda done: progress(what, done))
        while True:
            try:
                return extract_all(
                    images.batches(), networks, statistics=stats, batch_size=batch_size, cache=store, progress=report
                )
            except NonFiniteFeatures as error:
                table.failures.append((f"{error.encoder} on the {what}", error))
                del networks[error.encoder]

    own = run("images", source)
    real = None if reals is None else run("reference", reals)
    counts = resample_counts(own.n, resamples)
    name, digest = _identity(target, reals, real)
    labels = (source.labels, None if reals is None else reals.labels)
    session = _Session(table, own, real, target, counts, *labels, f"{name}:{digest}" if name else "")
    if reals is not None:
        session.check_images(source, reals)
        if "prdc" in metrics:
            session.match_classes(source, reals)
    for metric in (m for m in metrics if m != "stats" and m not in REWARDS.names()):
        spaces = spaces_for(metric, metrics, [s for s in own.features if real is None or s in real.features])
        for space in spaces:
            session.measure(metric, space)
        if not spaces and (networks or not encoders):
            wanted = OWN_OUTPUT.get(metric, "features")
            why = f"gives no {wanted} from the weights at hand" if networks else "is in the spaces asked for"
            given = ", ".join(networks) or "no encoder"
            table.failures.append(
                (metric, UserError(f"{given} {why}; inception-v3 from its official file has what it needs"))
            )
    if stats is not None:
        session.add("", statistic_measurements(own.statistics, counts, None if real is None else real.statistics))
    for metric in (m for m in metrics if m in REWARDS.names()):
        build = (rewards or {}).get(metric) or reward_for(metric)
        session.prefer(metric, build, source, batch_size)
    if store is not None and store.failed:
        table.warn(store.failed)
    for found in (source, reals):
        if found is not None:
            table.account(found.account)
    return table


def open_reference(
    reference: Path | str | ImageSource | None, workers: int, metrics: Sequence[str]
) -> tuple[Reference | None, ImageSource | None]:
    """Statistics and images of a reference; ADM's file holds both, and its images are for what needs images."""
    if reference is None or not isinstance(reference, (str, Path)):
        return None, reference
    path = Path(reference).expanduser()
    if is_statistics(path):
        with_images = not {*ON_MOMENTS, "inception-score", *REWARDS.names()}.issuperset(metrics)
        images = with_images and path.suffix == ".npz" and holds_images(path)
        return read_reference(path), images_of_npz(path) if images else None
    return None, open_images(reference, workers)


def _identity(target: Reference | None, reals: ImageSource | None, real: Extraction | None) -> tuple[str, str]:
    """Name and short hash of a reference: of its file, or of its images' content."""
    if target is not None:
        return target.name, target.sha256[:8]
    if reals is None or real is None:
        return "", ""
    return shown(Path(reals.account.where).stem), real.content[:8]


def _foreign(space: str) -> str:
    """The name of a space in other tools' statistics files; its own where they have none."""
    network = space.partition("/")[0].partition("-vit")[0]
    return "spatial" if space.endswith("/spatial") else FOREIGN_SPACES.get(network, space)


def _load(
    table: Table, encoders: Mapping[str, Callable[[], Encoder] | Fitted], reals: ImageSource | None
) -> dict[str, Encoder]:
    networks: dict[str, Encoder] = {}
    for name, build in encoders.items():
        try:
            networks[name] = build.fit(reals) if isinstance(build, Fitted) else build()
        except UserError as error:
            table.failures.append((name, error))
    return networks


@dataclass
class _Session:
    """One evaluation's state: everything extracted, and the table it fills."""

    table: Table
    own: Extraction
    real: Extraction | None
    target: Reference | None
    counts: NDArray[np.int16]
    labels: NDArray[np.int64] | None
    real_labels: NDArray[np.int64] | None
    reference_name: str

    def check_images(self, source: ImageSource, target: ImageSource) -> None:
        """Warn where the two sets are not alike."""
        if source.shape[:2] != target.shape[:2]:
            self.table.warn(
                f"images are {source.shape[1]} x {source.shape[0]}, the reference {target.shape[1]} x "
                f"{target.shape[0]}: each is resized from its own resolution, which changes every distance"
            )
        if source.shape[2] != target.shape[2]:
            self.table.warn("one set is grey and the other is in colour")
        if source.n != target.n:
            self.table.warn(
                f"{source.n} images against {target.n} of the reference: distances at different n differ in bias; "
                f"compare only with values at the same two numbers"
            )

    def match_classes(self, source: ImageSource, target: ImageSource) -> None:
        """Bring the labels of both sets to one numbering; where that cannot be, class metrics are left out."""
        if source.labels is None or target.labels is None:
            return
        own, real = (source.labels, source.class_names), (target.labels, target.class_names)
        try:
            self.labels, self.real_labels, how = classes.common(own, real, source.where, target.where)
            self.table.note(f"classes of {source.where} are matched with those of {target.where} by {how}")
        except UserError as error:
            self.labels = self.real_labels = None
            self.table.failures.append(("class_coverage", error))

    def evidence(self, space: str, metric: str) -> Evidence:
        """What there is to measure in a space."""
        found = Evidence(self.counts, features=self.own.features[space], labels=self.labels)
        if self.target is not None and (metric in ON_MOMENTS or self.real is None):
            if self.target.features is not None and not self.target.moments:
                same_dimension(self.own.features[space].shape[1], self.target.features.shape[1])
                kept = self.target.features
                return replace(found, reference=kept) if metric in ON_MOMENTS else replace(found, reference_val=kept)
            if metric == "inception-score":
                return found
            if metric not in ON_MOMENTS:
                raise UserError(f"{metric}: '{self.target.name}' holds statistics only; give reference images for it")
            key = space if space in self.target.moments else _foreign(space)
            moments = self.target.space(key)
            dimension = self.own.features[space].shape[1]
            if moments.mean.size != dimension:
                raise UserError(
                    f"fd in {space}: '{self.target.name}' has {moments.mean.size} dimensions, the encoder {dimension}"
                )
            if "encoder" not in moments.provenance:
                self.table.warn(
                    f"'{self.target.name}' does not say how its images were resized and encoded; fd is comparable only "
                    f"if that was done as in {self.own.signatures[space]}"
                )
            if not moments.n:
                self.table.warn(f"'{self.target.name}' does not say how many images it was made from")
            return replace(found, reference=moments)
        if self.real is None:
            if metric != "inception-score":
                raise UserError(f"{metric} needs a reference: images, or for fd a statistics file")
            return found
        features = self.real.features[space]
        if metric in ON_MOMENTS:
            return replace(found, reference=features)
        return replace(found, reference_val=features, reference_val_labels=self.real_labels)

    def measure(self, metric: str, space: str) -> None:
        """Run one metric in one space; a UserError becomes a failure."""
        try:
            measured = METRICS.get("fd" if metric == SFID else metric)().measure(self.evidence(space, metric))
            self.add(space, [replace(m, metric=SFID) for m in measured] if metric == SFID else measured)
        except UserError as error:
            self.table.failures.append((f"{metric} in {space}", error))

    def prefer(self, name: str, build: Callable[[], Any], source: ImageSource, batch_size: int) -> None:
        """Score all images with a reward; a UserError becomes a failure."""
        try:
            reward = build()
            labels = source.labels
            if labels is None and reward.needs_labels:
                raise UserError(
                    f"{name}: scores an image for its class, but {source.where} has no labels (one folder per class, "
                    f"or arr_1 in an npz)"
                )
            labels = np.zeros(source.n, dtype=np.int64) if labels is None else labels
            if source.class_names is not None and reward.needs_labels:
                if reward.class_names is None:
                    place, how = classes.indices(source.class_names)
                else:
                    asked = f"the prompts of {name}"
                    place, how = classes.match(source.class_names, reward.class_names, source.where, asked)
                labels = place[labels]
                self.table.note(f"{name}: classes of {source.where} are matched with its own by {how}")
            scores, done = np.empty(source.n), 0
            for batch in source.batches():
                part = slice(done, done + len(batch))
                scores[part] = score_images(reward, batch, labels[part], batch_size)
                done += len(batch)
            self.add("", [mean_score(name, scores, self.counts)], {"reward": reward.signature})
        except UserError as error:
            self.table.failures.append((name, error))

    def add(self, space: str, measured: list[Measurement], parts: Mapping[str, str] | None = None) -> None:
        """Put measurements into the table under their signatures."""
        for m in measured:
            fields: dict[str, str | int | float] = dict(parts or {})
            if space:
                fields["enc"] = self.own.signatures[space]
            if self.reference_name and not parts:
                fields["ref"] = self.reference_name
            signature = make_signature(m.metric, {**fields, "n": m.n})
            low, high = (None if math.isnan(edge) else float(edge) for edge in (m.low, m.high))
            self.table.rows.append(
                Row(space, m.metric, float(m.value), low, high, m.n, m.better, signature, dict(m.details))
            )
            for note in m.notes:
                self.table.warn(f"{m.metric}{f' in {space}' if space else ''}: {note}")

"""FID by three tools on the same pixels and the same weights file: drlbench, torch-fidelity and clean-fid.

Whoever doubts a number finds out here which step it differs in. Every tool gets the decoded uint8 images, so that
neither the decoder, a crop nor a JPEG can be the reason; what is left is the resize, the network's code, the order of
float32 sums and the matrix square root:

| mode | peer | what runs of the peer |
|---|---|---|
| tf1 | torch-fidelity | all of it |
| clean | clean-fid | its resizer and Fréchet distance; between them torch-fidelity's layers: its own are TorchScript |

Shapes: n and m images, H and W height and width, D = 2048 features.
"""

from __future__ import annotations

import csv
import io
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from drlbench.data.images import ImageSource
from drlbench.encoders.inception import SIZE, InceptionV3, read_weights
from drlbench.encoders.weights import locate
from drlbench.errors import IntegrityError, UserError
from drlbench.features.extract import extract
from drlbench.metrics.frechet import frechet_distance
from drlbench.weights.catalogue import inception_source

TOLERANCES = {"torch-fidelity": 1e-3, "clean-fid": 1e-2}  # of an FID; what rounding explains
MODES = {"torch-fidelity": "tf1", "clean-fid": "clean"}
LAYERS = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c", "AvgPool"),
)
COLUMNS = (
    *("peer", "version", "mode", "metric", "n", "n_reference", "ours", "theirs", "difference", "tolerance"),
    *("seconds_ours", "seconds_theirs", "weights", "reason"),
)

Images = NDArray[np.uint8]
Tell = Callable[[str, float], None]
"""Called with what is going on and the fraction of it that is done."""


@dataclass(frozen=True)
class Comparison:
    """One number by drlbench and by a peer; `theirs` is NaN where the peer failed, and `reason` says why."""

    peer: str
    version: str
    mode: str
    n: int
    n_reference: int
    ours: float
    theirs: float
    seconds_ours: float
    seconds_theirs: float
    weights: str
    reason: str

    @property
    def difference(self) -> float:
        """Ours - theirs."""
        return self.ours - self.theirs

    @property
    def agrees(self) -> bool:
        """Whether the two are within the tolerance; a peer that failed disagrees with nobody."""
        return math.isnan(self.theirs) or abs(self.difference) <= TOLERANCES[self.peer]

    def to_json(self) -> dict[str, Any]:
        """The columns; a number that is not there is None."""
        derived = {"metric": "fid", "difference": self.difference, "tolerance": TOLERANCES[self.peer]}
        values = {**asdict(self), **derived}
        return {
            name: None if isinstance(value := values[name], float) and math.isnan(value) else value for name in COLUMNS
        }


def compare_with_peers(
    images: ImageSource,
    reference: ImageSource,
    weights: str | Path | None = None,
    *,
    batch_size: int = 32,
    device: str = "cpu",
    tell: Tell = lambda what, done: None,
) -> list[Comparison]:
    """FID of images (n, H, W, 1 or 3) to reference images (m, ...) by both peers and by drlbench.

    Args:
        weights: of the 2015 Inception network; by default as `inception-v3` finds them.

    Raises:
        UserError: fewer than 2 images. MissingPrerequisite, IntegrityError: of the weights.
    """
    for source in (images, reference):
        if source.n < 2:
            raise UserError(f"{source.where}: {source.n} image; a distribution needs at least 2")
    path = locate(inception_source("2048"), weights)
    state = read_weights(path)
    found = []
    with tempfile.TemporaryDirectory(prefix="drlbench-peers-") as scratch:
        sets = tuple(_kept(source, Path(scratch) / f"{i}.npy") for i, source in enumerate((images, reference)))
        for peer, theirs_of in (("torch-fidelity", _torch_fidelity), ("clean-fid", _clean_fid)):
            encoder = InceptionV3(MODES[peer], weights=path).to(device)
            started = time.perf_counter()
            ours = _ours(encoder, sets, batch_size, lambda done, mode=MODES[peer]: tell(f"drlbench, {mode}", done))  # type: ignore[misc] # a default argument
            middle = time.perf_counter()
            theirs, reason = math.nan, _reason(peer, sets)
            try:
                theirs = theirs_of(state, sets, batch_size, device, lambda done, peer=peer: tell(peer, done))  # type: ignore[misc] # likewise
            except (TypeError, ValueError, np.linalg.LinAlgError) as error:
                reason = f"{peer} failed: {error} (scipy {version('scipy')}, numpy {version('numpy')})"
            seconds = (middle - started, time.perf_counter() - middle)
            counts = (images.n, reference.n)
            facts = (peer, version(peer), MODES[peer], *counts, ours, theirs, *seconds)
            found.append(Comparison(*facts, encoder.signature.split("/")[0], reason))
    return found


def to_csv(found: Iterable[Comparison]) -> str:
    """One line for each, numbers with 6 digits after the point."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for c in found:
        row = {name: f"{v:.6f}" if isinstance(v, float) else v for name, v in c.to_json().items()}
        writer.writerow({**row, **{name: f"{c.to_json()[name]:.1f}" for name in ("seconds_ours", "seconds_theirs")}})
    return text.getvalue()


def check_agreement(found: Iterable[Comparison]) -> None:
    """Refuse a disagreement that rounding does not explain.

    Raises:
        IntegrityError: names the peers and both numbers.
    """
    wrong = [
        f"FID[{c.mode}]: {c.ours:.6f} here, {c.theirs:.6f} by {c.peer} {c.version}; rounding explains "
        f"{TOLERANCES[c.peer]:g}"
        for c in found
        if not c.agrees
    ]
    if wrong:
        raise IntegrityError("\n".join(wrong))


def _kept(source: ImageSource, path: Path) -> Images:
    """All images (n, H, W, 3) on disk, grey ones in three equal channels, to be read in any order."""
    height, width, _ = source.shape
    kept = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(source.n, height, width, 3))
    done = 0
    for batch in source.batches():
        kept[done : done + len(batch)] = batch
        done += len(batch)
    kept.flush()
    return kept


def _reason(peer: str, sets: tuple[Images, ...]) -> str:
    """Where the last digits may differ."""
    parts = ["same pixels and weights; order of float32 sums"]
    if peer == "clean-fid" and any(s.shape[1:3] != (SIZE, SIZE) for s in sets):
        parts.append("bicubic filter of Pillow against torch's")
    if min(len(s) for s in sets) <= 2048:
        parts.append("rank-deficient covariances, whose square root the peer takes to about 1e-6")
    return "; ".join(parts)


def _ours(encoder: InceptionV3, sets: tuple[Images, ...], batch: int, tell: Callable[[float], None]) -> float:
    total, before, features = sum(map(len, sets)), 0, []
    for images in sets:
        features.append(extract(encoder, _batches(images, 8 * batch, before, total, tell), batch))
        before += len(images)
    return frechet_distance(*features, resamples=0).value


def _batches(images: Images, size: int, before: int, total: int, tell: Callable[[float], None]) -> Iterator[Images]:
    for start in range(0, len(images), size):
        yield np.asarray(images[start : start + size])
        tell((before + min(start + size, len(images))) / total)


class _Pixels(Dataset[Tensor]):
    """Images as torch-fidelity takes them, (3, H, W) uint8; it has no other way to say how far it is."""

    def __init__(self, images: Images, before: int, total: int, tell: Callable[[float], None]) -> None:
        self.images, self.before, self.total, self.tell = images, before, total, tell

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        self.tell((self.before + index + 1) / self.total)
        return torch.from_numpy(np.ascontiguousarray(self.images[index].transpose(2, 0, 1)))


@contextmanager
def _silent() -> Iterator[None]:
    """What peers print is not part of our results."""
    with redirect_stdout(io.StringIO()):
        yield


def _in_memory(state: dict[str, Tensor]) -> io.BytesIO:
    """The weights as a file that was never on disk: the peer would unpickle whatever a path holds."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return buffer


def _torch_fidelity(
    state: dict[str, Tensor], sets: tuple[Images, ...], batch: int, device: str, tell: Callable[[float], None]
) -> float:
    import torch_fidelity

    total = sum(map(len, sets))
    first, second = _Pixels(sets[0], 0, total, tell), _Pixels(sets[1], len(sets[0]), total, tell)
    with _silent():
        found = torch_fidelity.calculate_metrics(
            input1=first,
            input2=second,
            fid=True,
            feature_extractor_weights_path=_in_memory(state),
            batch_size=batch,
            cuda=device != "cpu",
            cache=False,
            save_cpu_ram=True,
            verbose=False,
        )
    return float(found["frechet_inception_distance"])


class _Layers(nn.Module):
    """torch-fidelity's network on images that are 299 pixels already."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        weights = _in_memory(state)
        network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=weights)
        self.layers = nn.Sequential(*(network.get_submodule(name) for name in LAYERS))

    def forward(self, levels: Tensor) -> Tensor:
        """Features (B, D) of grey levels (B, 3, 299, 299) in 0..255."""
        features: Tensor = self.layers((levels - 128) / 128).flatten(1)
        return features


def _clean_fid(
    state: dict[str, Tensor], sets: tuple[Images, ...], batch: int, device: str, tell: Callable[[float], None]
) -> float:
    with _silent():
        from cleanfid import fid
        from cleanfid.resize import build_resizer

    resize, network = build_resizer("clean"), _Layers(state).to(device).eval()
    total, before, features = sum(map(len, sets)), 0, []
    for images in sets:
        found = []
        for part in _batches(images, batch, before, total, tell):
            levels = np.stack([resize(image) for image in part]).transpose(0, 3, 1, 2)
            found.append(fid.get_batch_features(torch.from_numpy(levels), network, torch.device(device)))
        features.append(np.concatenate(found))
        before += len(images)
    with _silent():
        return float(fid.fid_from_feats(*features))

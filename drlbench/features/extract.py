"""One pass over images for every space at once, and for the image statistics beside them.

Features are kept by content: a chunk of images that an encoder has already seen, in whatever folder or run, is not
encoded again, so an interrupted extraction goes on where it stopped.

Shapes: n images, b images of a batch, H and W height and width, C channels, D feature dimension.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from drlbench.encoders.base import Encoder
from drlbench.errors import MissingPrerequisite, UserError
from drlbench.features.moments import MomentAccumulator, Moments
from drlbench.store.atomic import write_bytes

Images = NDArray[np.uint8]
Features = NDArray[np.float32]
Statistics = Callable[[Images], Mapping[str, NDArray[np.float64]]]

CHUNK = 512  # images per cached chunk; part of nothing but the cache


@dataclass
class Extraction:
    """What one pass found.

    Attributes:
        features: space -> (n, D) float32, unless only moments were asked for.
        moments: space -> float64 moments, if they were asked for.
        statistics: statistic -> (n,) float64.
        signatures: space -> the encoder's signature.
        content: hex sha256 of all images, whatever batches they came in.
        n: number of images.
    """

    features: dict[str, Features] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)
    statistics: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    signatures: dict[str, str] = field(default_factory=dict)
    content: str = ""
    n: int = 0


class NonFiniteFeatures(UserError):
    """An encoder gave NaN or infinity; `encoder` is its name in the call."""

    def __init__(self, space: str, encoder: str, image: int) -> None:
        super().__init__(f"space '{space}': the features of image {image} hold NaN or infinity")
        self.encoder = encoder


class FeatureCache:
    """Feature chunks in a folder, each under the hash of its images and the signature of its encoder.

    A folder that cannot be written to costs the cache and not the work: `failed` then says so.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.failed = folder, ""

    def path(self, content: str, signature: str) -> Path:
        """Where the chunk lies."""
        key = hashlib.sha256(f"{content}\n{signature}".encode()).hexdigest()
        return self.folder / key[:2] / f"{key}.safetensors"

    def get(self, content: str, signature: str) -> Features | None:
        """The chunk (b, D), or None when it is not there or not whole."""
        try:
            table = load(self.path(content, signature).read_bytes())
            features, digest = table["features"], table["sha256"].tobytes()
        except (OSError, SafetensorError, KeyError):
            return None
        return features if hashlib.sha256(features.tobytes()).digest() == digest else None

    def put(self, content: str, signature: str, features: Features) -> None:
        """Keep a chunk, where that is possible."""
        digest = np.frombuffer(hashlib.sha256(features.tobytes()).digest(), dtype=np.uint8)
        try:
            write_bytes(self.path(content, signature), save({"features": features, "sha256": digest}))
        except (OSError, MissingPrerequisite) as error:
            self.failed = f"{self.folder}: features are not kept there ({error})"


def to_unit(images: Images, device: torch.device | str = "cpu") -> Tensor:
    """Images (b, H, W, C) uint8 as (b, C, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2).float().div_(255.0)


def spaces_of(name: str, encoder: Encoder) -> dict[str, str]:
    """Space names an encoder fills, each with its signature: `name`, and `name/output` for further outputs."""
    if not encoder.outputs:
        return {name: encoder.signature}
    first, *others = encoder.outputs
    return {name: encoder.signature_of(first), **{f"{name}/{o}": encoder.signature_of(o) for o in others}}


def _encode(name: str, encoder: Encoder, x: Tensor) -> dict[str, Features]:
    found = encoder.forward_all(x)
    in_order = [found[output] for output in encoder.outputs or [""]]
    spaces = zip(spaces_of(name, encoder), in_order, strict=True)
    return {space: tensor.float().cpu().numpy() for space, tensor in spaces}


def _device_of(encoder: Encoder) -> torch.device:
    tensor = next(iter(encoder.parameters()), next(iter(encoder.buffers()), None))
    return torch.device("cpu") if tensor is None else tensor.device


def chunks_of(batches: Images | Iterable[Images], size: int = CHUNK) -> Iterator[Images]:
    """Regroup images into chunks of one size, whatever batches they come in."""
    if isinstance(batches, np.ndarray):
        for start in range(0, len(batches), size):
            yield batches[start : start + size]
        return
    held: list[Images] = []
    for batch in batches:
        while len(batch):
            room = size - sum(map(len, held))
            held.append(batch[:room])
            batch = batch[room:]
            if sum(map(len, held)) == size:
                yield np.concatenate(held)
                held = []
    if held:
        yield np.concatenate(held)


@contextmanager
def _full_precision() -> Iterator[None]:
    """cuDNN's convolutions in float32: by itself it takes TF32, whose error of 1e-3 a distance would show."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@torch.inference_mode()
@_full_precision()
def extract_all(
    images: Images | Iterable[Images],
    encoders: Mapping[str, Encoder],
    *,
    statistics: Statistics | None = None,
    keep: str = "features",
    batch_size: int = 64,
    cache: FeatureCache | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Extraction:
    """Encode every image once by every encoder, and measure its statistics.

    Args:
        images: (n, H, W, C) uint8, or batches of them.
        encoders: name -> encoder, each used on the device where it is.
        statistics: images (b, H, W, C) uint8 -> per-image values, measured in the same pass.
        keep: "features" holds (n, D) float32; "moments" only the running float64 moments, for any n.
        batch_size: images in a network at once; features agree across sizes to about 1e-6 of their norm.
        cache: feature chunks kept by content.
        progress: called with the number of images done after each chunk.

    Raises:
        UserError: no images. NonFiniteFeatures: an encoder gave NaN or infinity (which image is named).
    """
    result = Extraction()
    parts: dict[str, list[Features]] = {}
    sums: dict[str, MomentAccumulator] = {}
    per_image: dict[str, list[NDArray[np.float64]]] = {}
    for name, encoder in encoders.items():
        result.signatures.update(spaces_of(name, encoder))
    whole = hashlib.sha256()
    for chunk in chunks_of(images):
        content = hashlib.sha256(f"{chunk.shape}".encode() + np.ascontiguousarray(chunk).data).hexdigest()
        whole.update(content.encode())
        for space, features in _encode_chunk(chunk, content, encoders, batch_size, cache).items():
            if not np.isfinite(features).all():
                bad = result.n + int(np.flatnonzero(~np.isfinite(features).all(1))[0])
                owner = next(name for name, encoder in encoders.items() if space in spaces_of(name, encoder))
                raise NonFiniteFeatures(space, owner, bad)
            if keep == "moments":
                sums.setdefault(space, MomentAccumulator(features.shape[1])).add(features)
            else:
                parts.setdefault(space, []).append(features)
        if statistics is not None:
            for key, values in statistics(chunk).items():
                per_image.setdefault(key, []).append(values)
        result.n += len(chunk)
        if progress is not None:
            progress(result.n)
    if not result.n:
        raise UserError("no images to extract features from")
    result.content = whole.hexdigest()
    result.features = {space: np.concatenate(found) for space, found in parts.items()}
    result.moments = {space: running.finish() for space, running in sums.items()}
    result.statistics = {key: np.concatenate(values) for key, values in per_image.items()}
    return result


def _encode_chunk(
    chunk: Images, content: str, encoders: Mapping[str, Encoder], batch_size: int, cache: FeatureCache | None
) -> dict[str, Features]:
    found: dict[str, Features] = {}
    missing = dict(encoders)
    if cache is not None:
        for name, encoder in encoders.items():
            kept = {space: cache.get(content, signature) for space, signature in spaces_of(name, encoder).items()}
            if all(features is not None for features in kept.values()):
                found.update({space: features for space, features in kept.items() if features is not None})
                del missing[name]
    batches: dict[str, list[Features]] = {}
    for start in range(0, len(chunk) if missing else 0, batch_size):
        on: dict[torch.device, Tensor] = {}
        for name, encoder in missing.items():
            device = _device_of(encoder)
            if device not in on:
                on[device] = to_unit(chunk[start : start + batch_size], device)
            for space, features in _encode(name, encoder, on[device]).items():
                batches.setdefault(space, []).append(features)
    for name, encoder in missing.items():
        for space, signature in spaces_of(name, encoder).items():
            found[space] = np.concatenate(batches[space])
            if cache is not None:
                cache.put(content, signature, found[space])
    return found


def extract(
    encoder: Encoder,
    images: Images | Iterable[Images],
    batch_size: int = 64,
    progress: Callable[[int], Any] | None = None,
) -> Features:
    """Features (n, D) float32 of images (n, H, W, C) uint8 in one space; `progress` gets the images done so far."""
    return extract_all(images, {"space": encoder}, batch_size=batch_size, progress=progress).features["space"]

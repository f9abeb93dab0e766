"""One pass over images for several spaces, its independence of batches, and its cache."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from drlbench.encoders.base import Encoder
from drlbench.errors import UserError
from drlbench.features.extract import FeatureCache, chunks_of, extract, extract_all, to_unit
from drlbench.metrics import image_statistics


class Probe(Encoder):
    """A fixed random convolution, counting the images it sees."""

    def __init__(self, seed, dim=6):
        super().__init__()
        self.net = nn.Conv2d(3, dim, 3)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in self.net.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))
        self.dim, self.signature, self.seen = dim, f"probe:{seed}", 0
        self.freeze()

    def forward(self, images):
        self.seen += len(images)
        return self.net(images).relu().mean((2, 3))


class Two(Probe):
    """Two outputs from one pass."""

    outputs: list[str]

    def __init__(self):
        super().__init__(7)
        self.outputs = ["sum", "square"]

    def signature_of(self, output):
        return f"{self.signature}/{output}"

    def forward_all(self, images):
        features = self(images)
        return {"square": features[:, :2] ** 2, "sum": features}


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (150, 10, 8, 3), dtype=np.uint8)


def test_batch_sizes_and_sources_agree(images):
    encoder = Probe(1)
    whole = extract(encoder, images)
    assert whole.shape == (150, 6) and whole.dtype == np.float32
    for size in (1, 7, 64):
        np.testing.assert_allclose(extract(encoder, images, batch_size=size), whole, rtol=1e-5, atol=1e-5)
    pieces = (images[i : i + 13] for i in range(0, 150, 13))
    np.testing.assert_allclose(extract(encoder, pieces), whole, rtol=1e-5, atol=1e-5)


def test_one_pass_for_everything(images):
    first, second = Probe(1), Probe(2, dim=4)
    found = extract_all(images, {"a": first, "b": second}, statistics=image_statistics)
    assert first.seen == second.seen == 150 == found.n
    assert {k: v.shape for k, v in found.features.items()} == {"a": (150, 6), "b": (150, 4)}
    assert found.signatures == {"a": "probe:1", "b": "probe:2"}
    np.testing.assert_allclose(found.statistics["brightness"], image_statistics(images)["brightness"], rtol=1e-12)


def test_moments_without_features(images):
    encoder = Probe(1)
    found = extract_all(images, {"a": encoder}, keep="moments")
    assert not found.features
    np.testing.assert_allclose(
        found.moments["a"].covariance, np.cov(extract(encoder, images).astype(np.float64), rowvar=False), atol=1e-12
    )


def test_several_outputs_of_one_network(images):
    encoder = Two()
    found = extract_all(images, {"net": encoder})
    assert encoder.seen == 150
    assert found.signatures == {"net": "probe:7/sum", "net/square": "probe:7/square"}
    np.testing.assert_allclose(found.features["net/square"], found.features["net"][:, :2] ** 2, rtol=1e-6)


def test_cache_by_content_resumes_and_distrusts_damage(images, tmp_path, monkeypatch):
    monkeypatch.setattr("drlbench.features.extract.CHUNK", 40)
    monkeypatch.setattr(chunks_of, "__defaults__", (40,))
    cache, encoder = FeatureCache(tmp_path), Probe(1)
    plain = extract(encoder, images)

    def broken():
        yield images[:100]
        raise RuntimeError("stopped half-way")

    with pytest.raises(RuntimeError):
        extract_all(broken(), {"a": encoder}, cache=cache)
    encoder.seen = 0
    found = extract_all(images.copy(), {"a": encoder}, cache=cache)
    assert encoder.seen == 70  # 80 images were kept in two whole chunks
    np.testing.assert_allclose(found.features["a"], plain, rtol=1e-5, atol=1e-5)
    encoder.seen = 0
    extract_all(images, {"renamed": encoder}, cache=cache)
    assert encoder.seen == 0
    victim = next(tmp_path.rglob("*.safetensors"))
    content = bytearray(victim.read_bytes())
    content[-3] ^= 1
    victim.write_bytes(bytes(content))
    again = extract_all(images, {"a": encoder}, cache=cache)
    assert encoder.seen in (30, 40)
    np.testing.assert_allclose(again.features["a"], plain, rtol=1e-5, atol=1e-5)
    assert extract_all(images, {"a": Probe(3)}, cache=cache).features["a"][0, 0] != plain[0, 0]


def test_messages(images):
    class Broken(Probe):
        def forward(self, images):
            features = super().forward(images)
            features[3] = float("nan")
            return features

    with pytest.raises(UserError, match="image 3 hold NaN"):
        extract(Broken(1), images)
    with pytest.raises(UserError, match="no images"):
        extract(Probe(1), images[:0])
    assert to_unit(images[:2]).shape == (2, 3, 10, 8)

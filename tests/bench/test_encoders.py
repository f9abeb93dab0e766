"""Frozen networks on 32-pixel images, a batch of 16 on one thread: from packages, and Inception beside torch-fidelity.

Only ratios of one run mean anything; `docs/precision.md` quotes the last measured ones.
"""

from __future__ import annotations

import pytest
import torch

from drlbench.encoders import make_encoder
from drlbench.encoders.inception import read_weights
from drlbench.encoders.weights import locate
from drlbench.errors import MissingPrerequisite
from drlbench.evaluate.peers import _in_memory
from drlbench.weights.catalogue import inception_source

pytestmark = pytest.mark.bench
BATCH = 16


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def images():
    """uint8 (B, 3, 32, 32)."""
    return torch.randint(0, 256, (BATCH, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def ours(name, **settings):
    try:
        encoder = make_encoder(name, **settings)
    except MissingPrerequisite as missing:
        pytest.skip(str(missing))
    return encoder


def torch_fidelity():
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    try:
        state = read_weights(locate(inception_source("2048"), None))
    except MissingPrerequisite as missing:
        pytest.skip(str(missing))
    weights = _in_memory(state)
    return FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=weights)


SMALL = {
    "lite0": lambda: ours("efficientnet-lite", network="lite0", size=64),
    "lite2": lambda: ours("efficientnet-lite", network="lite2", size=64),
    "open-nsfw": lambda: ours("open-nsfw", size=64),
}
INCEPTION = {"ours": lambda: ours("inception-v3"), "torch-fidelity": torch_fidelity}


@pytest.mark.benchmark(group="forward-64px")
@pytest.mark.parametrize("name", SMALL)
def test_forward(benchmark, images, name):
    network = SMALL[name]()
    with torch.inference_mode():
        benchmark.pedantic(network, args=(images / 255.0,), rounds=20, warmup_rounds=3)


@pytest.mark.benchmark(group="gradient-64px")
@pytest.mark.parametrize("name", SMALL)
def test_gradient(benchmark, images, name):
    network = SMALL[name]()

    def gradient(values):
        x = values.clone().requires_grad_()
        return torch.autograd.grad(network(x).sum(), x)

    benchmark.pedantic(gradient, args=(images / 255.0,), rounds=20, warmup_rounds=3)


@pytest.mark.benchmark(group="inception-2048")
@pytest.mark.parametrize("tool", INCEPTION)
def test_inception(benchmark, images, tool):
    network = INCEPTION[tool]()
    images = images / 255.0 if tool == "ours" else images  # the other takes grey levels
    with torch.inference_mode():
        features = benchmark.pedantic(network, args=(images,), rounds=3, warmup_rounds=1)
    found = features[0] if isinstance(features, tuple) else features
    assert found.shape == (BATCH, 2048)

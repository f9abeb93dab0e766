"""Our metrics beside the tools researchers use, in one run and on one BLAS thread.

Only ratios of one run mean anything; `docs/precision.md` quotes the last measured ones.
"""

from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from drlbench.metrics import density_coverage, frechet_distance, precision_recall

pytestmark = pytest.mark.bench


def relu_features(n, d, seed, scale=1.0):
    """Features with a decaying spectrum, cut at zero as pooled Inception features are."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).standard_normal((d, d)) / np.sqrt(d) * np.linspace(1, 0.05, d)[:, None]
    return np.maximum(scale * rng.standard_normal((n, d)) @ mixing, 0)


@pytest.fixture(scope="module", params=[10_000, 1_000], ids=["n10000", "n1000"])
def moments(request):
    found = []
    for seed, scale in ((1, 1.0), (2, 1.1)):
        x = relu_features(request.param, 2048, seed, scale)
        found.append(SimpleNamespace(mean=x.mean(0), covariance=np.cov(x, rowvar=False), n=len(x)))
    return found


def ours(a, b):
    return frechet_distance(a, b).value


def clean_fid(a, b):
    from cleanfid.fid import frechet_distance as tool

    return tool(a.mean, a.covariance, b.mean, b.covariance)


def pytorch_fid(a, b):
    from pytorch_fid.fid_score import calculate_frechet_distance as tool

    return tool(a.mean, a.covariance, b.mean, b.covariance)


def torch_fidelity(a, b):
    from torch_fidelity.metric_fid import fid_statistics_to_metric as tool

    stats = ({"mu": s.mean, "sigma": s.covariance} for s in (a, b))
    return tool(*stats, False)["frechet_inception_distance"]


@pytest.mark.benchmark(group="frechet-2048")
@pytest.mark.parametrize("tool", [ours, clean_fid, pytorch_fid, torch_fidelity], ids=lambda f: f.__name__)
def test_frechet(benchmark, moments, tool):
    value = benchmark.pedantic(tool, args=tuple(moments), rounds=1 if tool is not ours else 3)
    assert value == pytest.approx(ours(*moments), rel=1e-4)


PRDC_SCRIPT = """
import sys, time
from pathlib import Path
import numpy as np
rng = np.random.default_rng(0)
real, fake = (rng.standard_normal((10_000, 1024), dtype=np.float32) for _ in range(2))
def memory(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024
fake += 0.02
if sys.argv[1] == "ours":
    from drlbench.metrics.manifold import neighbourhoods
    run = lambda: neighbourhoods(fake, real, 5, 5, True)
else:
    import sklearn.metrics
    from prdc import compute_prdc
    run = lambda: compute_prdc(real_features=real, fake_features=fake, nearest_k=5)
Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
before = memory("VmRSS")
start = time.process_time()
run()
print(time.process_time() - start, memory("VmHWM") - before)
"""


def test_prdc_time_and_memory(record_property):
    """n = 10,000, d = 1024: processor seconds and additional peak MiB of both, each in its own process."""
    figures = {}
    for who in ("ours", "prdc"):
        done = subprocess.run([sys.executable, "-c", PRDC_SCRIPT, who], capture_output=True, text=True, check=True)
        figures[who] = [float(part) for part in done.stdout.splitlines()[-1].split()]
    print(f"\nprdc: ours {figures['ours']}, reference {figures['prdc']} (seconds, MiB)")
    record_property("prdc", figures)
    assert figures["prdc"][0] > 3 * figures["ours"][0]
    assert figures["prdc"][1] > 10 * figures["ours"][1]


def test_prdc_values_agree():
    from prdc import compute_prdc

    real, fake = relu_features(600, 64, 3), relu_features(500, 64, 4, 1.05)
    want = compute_prdc(real_features=real, fake_features=fake, nearest_k=5)
    pr, dc = precision_recall(fake, real, k=5), density_coverage(fake, real, k=5)
    found = {m.metric: m.value for m in (*pr, *dc)}
    assert found == pytest.approx({key: float(value) for key, value in want.items()}, abs=1e-12)


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    """Our network and torch-fidelity's with the same random weights."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    from drlbench.encoders.inception import InceptionV3
    from drlbench.encoders.inception_graph import Network

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(Network().state_dict(), path)
    theirs = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    return InceptionV3(weights=path), theirs.eval()


@pytest.mark.parametrize(("batch", "least"), [(64, 2.0), (8, 1.5)])
def test_inception_features(inception, record_property, batch, least):
    """Processor seconds from uint8 to 2048 features, in turns; torch-fidelity's own default is a batch of 64."""
    ours_, theirs = inception
    images = torch.randint(0, 256, (batch, 3, 256, 256), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    runs = {"ours": lambda: ours_(images.float() / 255), "torch-fidelity": lambda: theirs(images)[0]}
    best = dict.fromkeys(runs, float("inf"))
    with torch.inference_mode():
        features = {name: run() for name, run in runs.items()}
        for _ in range(3):
            for name, run in runs.items():
                start = time.process_time()
                run()
                best[name] = min(best[name], time.process_time() - start)
    error = (features["ours"] - features["torch-fidelity"]).norm() / features["torch-fidelity"].norm()
    ratio = best["torch-fidelity"] / best["ours"]
    each = ", ".join(f"{name} {1000 * seconds / batch:.1f} ms an image" for name, seconds in best.items())
    print(f"\ninception, batch {batch}: {each}, {ratio:.2f}x, relative difference {error:.1e}")
    record_property("ratio", ratio)
    assert error < 2e-6
    assert ratio > least


def test_one_pass_costs_little_more_than_its_encoders(inception, record_property):
    """Two spaces and the statistics of 24 images of 256 pixels, against the two bare encoders."""
    from drlbench.encoders.inception import InceptionV3
    from drlbench.features.extract import extract_all, to_unit
    from drlbench.metrics import image_statistics

    first = inception[0]
    second = InceptionV3.__new__(InceptionV3)
    second.__dict__ = dict(first.__dict__)
    second.variant = "clean"
    images = np.random.default_rng(0).integers(0, 256, (24, 256, 256, 3), dtype=np.uint8)
    x = to_unit(images)

    def bare():
        with torch.inference_mode():
            for encoder in (first, second):
                for i in range(0, 24, 8):
                    encoder(x[i : i + 8])

    def whole():
        extract_all(images, {"a": first, "b": second}, statistics=image_statistics, batch_size=8)

    best = {bare: float("inf"), whole: float("inf")}
    for _ in range(5):  # in turns and in processor seconds: another job on the machine must not decide
        for run in best:
            start = time.process_time()
            run()
            best[run] = min(best[run], time.process_time() - start)
    ratio = best[whole] / best[bare]
    print(f"\none pass {best[whole]:.2f} s, bare encoders {best[bare]:.2f} s, ratio {ratio:.3f}")
    record_property("ratio", ratio)
    assert ratio < 1.1

"""Spaces without downloads: fitted on the reference, or taken from a run."""

from __future__ import annotations

import json

import numpy as np
import pytest

from drlbench.encoders.pixels import Pixels
from drlbench.errors import IntegrityError, MissingPrerequisite, UserError
from drlbench.evaluate import evaluate
from drlbench.evaluate.names import encoder_for, needed
from drlbench.evaluate.spaces import encoder_of_run, is_of_run
from drlbench.features.extract import extract
from drlbench.metrics import frechet_distance
from drlbench.store import atomic
from drlbench.store.layout import Store


@pytest.fixture
def sets(tmp_path):
    rng = np.random.default_rng(0)
    real, fake = (rng.integers(0, top, (80, 4, 4, 3), dtype=np.uint8) for top in (256, 200))
    np.savez(tmp_path / "real.npz", arr_0=real)
    np.savez(tmp_path / "fake.npz", arr_0=fake)
    return tmp_path, real, fake


def test_pixels_and_fourier_are_fitted_on_the_reference(sets):
    folder, real, fake = sets
    encoders = {name: encoder_for(name, ["fd"]) for name in ("pixels", "fourier")}
    table = evaluate(folder / "fake.npz", folder / "real.npz", ["fd"], encoders, resamples=5)
    rows = {row.space: row for row in table.rows}
    assert rows.keys() == {"pixels", "fourier"} and not table.failures
    fitted, _ = Pixels.fit(real, np.zeros(80, np.int64), {}, 0)
    want = frechet_distance(extract(fitted, fake), extract(fitted, real), resamples=0).value
    assert rows["pixels"].value == pytest.approx(want, rel=1e-9)
    again = evaluate(folder / "fake.npz", folder / "real.npz", ["fd"], encoders, resamples=5)
    assert [(r.value, r.signature) for r in again.rows] == [(r.value, r.signature) for r in table.rows]


def test_what_cannot_be_fitted_is_told(sets):
    folder, _, _ = sets
    table = evaluate(folder / "fake.npz", None, ["inception-score"], {"pixels": encoder_for("pixels", ["is"])})
    assert "a reference of images is needed" in str(table.failures[0][1])
    np.savez(folder / "large.npz", arr_0=np.zeros((4, 40, 40, 3), np.uint8))
    table = evaluate(folder / "large.npz", folder / "large.npz", ["fd"], {"pixels": encoder_for("pixels", ["fd"])})
    assert "4,800 dimensions, more than 4,096; take 'fourier'" in str(table.failures[0][1])
    with pytest.raises(UserError, match=r"fitted by a suite, .* take a run's own, RUN:NAME, or one of pixels, fourier"):
        encoder_for("small-classifier", ["fd"])()


@pytest.fixture
def run(sets):
    folder, real, _ = sets
    encoder, _ = Pixels.fit(real, np.zeros(80, np.int64), {}, 0)
    place = Store(folder / "store").folder("encoder", "ab" * 32)
    with atomic.artefact(place, {"key": "ab" * 32}) as scratch:
        encoder.save(scratch)
    (folder / "run").mkdir()
    record = {
        "schema": 1,
        "suite": "s",
        "stages": [["encoder", "ab" * 32, "encoder look"], ["base", "cd" * 32, "base x"]],
    }
    (folder / "run" / "run.json").write_text(json.dumps(record))
    return folder, encoder, place


def test_a_runs_own_encoder(run):
    folder, encoder, place = run
    space = f"{folder / 'run'}:look"
    assert is_of_run(space) and not is_of_run("dinov2:x")
    assert encoder_for(space, ["fd"], None, folder / "store")().signature == encoder.signature
    with pytest.raises(UserError, match="has no encoder 'lock' \\(did you mean 'look'"):
        encoder_of_run(f"{folder / 'run'}:lock", folder / "store")
    with pytest.raises(MissingPrerequisite, match="give --store"):
        encoder_of_run(space, folder / "other")
    with pytest.raises(UserError, match="no run here"):
        encoder_of_run(f"{folder}:look", folder / "store")
    weights = next(place.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(IntegrityError, match="does not match its checksum"):
        encoder_of_run(space, folder / "store")
    (folder / "run" / "run.json").write_text("[]")
    with pytest.raises(IntegrityError):
        encoder_of_run(space, folder / "store")


@pytest.mark.parametrize(
    ("space", "metrics", "expected"),
    [
        ("inception-v3", ["stats"], False),
        ("inception-v3", ["is"], True),
        ("dinov2", ["is"], False),
        ("dinov2", ["is", "fd"], True),
        ("inception-v3", ["pickscore", "stats"], False),
        ("pixels", ["sfid"], False),
        ("inception-v3", ["sfid"], True),
    ],
)
def test_only_what_a_metric_needs_is_loaded(space, metrics, expected):
    assert needed(space, metrics) is expected

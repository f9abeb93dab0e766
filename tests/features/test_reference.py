"""Statistics files of other tools, and pickles that must not be run."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch

from drlbench.errors import IntegrityError, UserError
from drlbench.features.moments import Moments
from drlbench.features.reference import is_statistics, read_reference
from drlbench.metrics import frechet_distance
from drlbench.weights.opcodes import read_tables


@pytest.fixture
def moments():
    return Moments.of(np.random.default_rng(0).standard_normal((60, 5)))


def test_adm_keeps_its_images_to_itself(tmp_path, moments):
    spatial = Moments.of(np.random.default_rng(1).standard_normal((60, 3)))
    np.savez(
        tmp_path / "VIRTUAL_imagenet256_labeled.npz",
        arr_0=np.zeros((4, 8, 8, 3), np.uint8),
        mu=moments.mean,
        sigma=moments.covariance,
        mu_s=spatial.mean,
        sigma_s=spatial.covariance,
    )
    found = read_reference(tmp_path / "VIRTUAL_imagenet256_labeled.npz")
    assert found.name == "VIRTUAL_imagenet256_labeled" and len(found.sha256) == 64
    assert found.space("fid").mean.shape == (5,) and found.space("spatial").mean.shape == (3,)
    with pytest.raises(UserError, match="it holds: fid, spatial"):
        found.space("fd_dinov2")


def test_float32_means_are_read_and_remembered(tmp_path, moments):
    np.savez(tmp_path / "jit_in256_stats.npz", mu=moments.mean.astype(np.float32), sigma=moments.covariance)
    found = read_reference(tmp_path / "jit_in256_stats.npz").space("fid")
    assert found.mean.dtype == np.float64 and found.provenance["mean_dtype"] == "float32"
    assert abs(frechet_distance(found, moments).value) < 1e-12


def test_features_of_clean_fid(tmp_path):
    np.savez(tmp_path / "x_clean_custom_na_kid.npz", feats=np.ones((7, 3), np.float32))
    assert read_reference(tmp_path / "x_clean_custom_na_kid.npz").features.shape == (7, 3)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_edm2_pickle_without_unpickling(tmp_path, moments, protocol):
    fortran = np.asfortranarray(moments.covariance)
    table = {
        "fid": {"mu": moments.mean, "sigma": fortran},
        "fd_dinov2": {"mu": moments.mean.astype(np.float32), "sigma": moments.covariance.astype(">f8")},
        "num_images": np.int64(60),
    }
    (tmp_path / "img512.pkl").write_bytes(pickle.dumps(table, protocol=protocol))
    found = read_reference(tmp_path / "img512.pkl")
    assert set(found.moments) == {"fid", "fd_dinov2"} and found.space("fid").n == 60
    np.testing.assert_array_equal(found.space("fid").covariance, moments.covariance)
    np.testing.assert_array_equal(found.space("fd_dinov2").covariance, moments.covariance)
    assert found.space("fd_dinov2").provenance["file"] == "img512.pkl"


class Attack:
    """What a hostile file would do."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_hostile_pickles_are_refused_and_not_run(tmp_path, moments):
    marker = tmp_path / "ran"
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"fid": Attack(f"touch {marker}")}))
    with pytest.raises(IntegrityError, match="system"):
        read_reference(tmp_path / "evil.pkl")
    for evil in (np.array([Attack(f"touch {marker}")], dtype=object), np.array(["text"])):
        with pytest.raises(IntegrityError):
            read_tables(pickle.dumps({"a": evil}), "evil")
    assert not marker.exists()
    content = pickle.dumps({"fid": {"mu": moments.mean}})
    for cut in (1, 10, len(content) // 2, len(content) - 1):
        with pytest.raises(IntegrityError):
            read_tables(content[:cut], "cut")
    with pytest.raises(IntegrityError, match="not a table"):
        read_tables(b"\x80\x04" + b"e" * 30, "noise")


def test_object_npz_and_unknown_content(tmp_path):
    np.savez(tmp_path / "o.npz", mu=np.array([None, {}], dtype=object), sigma=np.eye(2))
    with pytest.raises(IntegrityError, match="array of objects"):
        read_reference(tmp_path / "o.npz")
    np.savez(tmp_path / "w.npz", weights=np.eye(2))
    with pytest.raises(UserError, match="it holds weights"):
        read_reference(tmp_path / "w.npz")
    np.savez(tmp_path / "m.npz", mu=np.zeros(3), sigma=np.eye(2))
    with pytest.raises(IntegrityError, match="not finite moments"):
        read_reference(tmp_path / "m.npz")
    with pytest.raises(UserError, match="no such statistics file"):
        read_reference(tmp_path / "none.npz")
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(UserError, match="holds a list"):
        read_reference(tmp_path / "list.pkl")


MU, SIGMA = np.arange(3.0), np.diag([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    "tables",
    [
        {"mu": MU, "sigma": SIGMA},
        {"mu": MU[None], "sigma": np.asfortranarray(SIGMA)},
        {"mean": MU, "cov": SIGMA},
        {"mean": MU, "covariance": SIGMA},
        {"m": MU, "s": SIGMA},
    ],
)
@pytest.mark.parametrize("ending", ["npz", "pkl", "pt"])
def test_layouts_of_other_tools(tmp_path, tables, ending):
    path = tmp_path / f"a.{ending}"
    if ending == "npz":
        np.savez(path, **tables)
    elif ending == "pkl":
        path.write_bytes(pickle.dumps(tables))
    else:
        torch.save({key: torch.from_numpy(value) for key, value in tables.items()}, path)
    found = read_reference(path).space("fid")
    np.testing.assert_array_equal(found.mean, MU)
    np.testing.assert_array_equal(found.covariance, SIGMA)
    assert is_statistics(path)


def test_features_of_other_tools(tmp_path):
    features = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    np.savez(tmp_path / "reps.npz", reps=features)
    np.save(tmp_path / "plain.npy", features)
    torch.save(torch.from_numpy(features), tmp_path / "plain.pt")
    torch.save({"features": torch.from_numpy(features).T.contiguous().T}, tmp_path / "turned.pt")
    torch.save({"features": features}, tmp_path / "of-numpy.pth")
    for name in ("reps.npz", "plain.npy", "plain.pt", "turned.pt", "of-numpy.pth"):
        np.testing.assert_array_equal(read_reference(tmp_path / name).features, features)
        assert is_statistics(tmp_path / name)
    np.save(tmp_path / "images.npy", np.zeros((2, 4, 4, 3), np.uint8))
    assert not is_statistics(tmp_path / "images.npy")
    features[4, 1] = np.nan
    np.savez(tmp_path / "nan.npz", feats=features)
    with pytest.raises(IntegrityError, match="the features of row 4 hold NaN"):
        read_reference(tmp_path / "nan.npz")


def test_torch_files_of_more_than_numbers_are_refused(tmp_path):
    torch.save({"mu": torch.nn.Linear(2, 2)}, tmp_path / "net.pt")
    with pytest.raises(IntegrityError, match=r"mentions torch\.nn"):
        read_reference(tmp_path / "net.pt")
    torch.save({"mu": torch.zeros(9)[::2], "sigma": torch.eye(5)}, tmp_path / "view.pt")
    with pytest.raises(IntegrityError, match="a view of another"):
        read_reference(tmp_path / "view.pt")
    (tmp_path / "lists.pkl").write_bytes(pickle.dumps({"mu": [0.0, 1.0], "sigma": [[1.0, 0.0], [0.0, 1.0]]}))
    with pytest.raises(IntegrityError, match="holds list where an array of numbers is expected"):
        read_reference(tmp_path / "lists.pkl")

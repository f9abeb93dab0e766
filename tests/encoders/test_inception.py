"""Inception features against torch-fidelity, pytorch-fid and clean-fid with recorded random weights."""

from __future__ import annotations

import copy
import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from drlbench.encoders.inception import OUTPUTS, InceptionV3, canonical, prepare
from drlbench.encoders.inception_graph import Network
from drlbench.encoders.weights import load_strict
from drlbench.errors import IntegrityError, MissingPrerequisite, UserError

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"
SEED = json.loads((GOLDEN / "inception_random_weights.json").read_text())["seed"]


def random_weights():
    """The weights the golden features were made with (numpy's legacy stream, one per key)."""
    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in Network().state_dict().items()}
    state = {}
    for key, shape in shapes.items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.zeros((), dtype=torch.int64)
            continue
        x = np.random.RandomState((zlib.crc32(key.encode()) ^ SEED) & 0xFFFFFFFF).standard_normal(shape)
        if key.endswith("conv.weight"):
            x = x * np.sqrt(2.0 / np.prod(shape[1:]))
        elif key.endswith("bn.weight"):
            x = 1 + 0.1 * x
        elif key.endswith("running_var"):
            x = np.abs(1 + 0.1 * x)
        elif key.startswith("fc."):
            x = x / np.sqrt(2048)
        else:
            x = 0.1 * x
        state[key] = torch.from_numpy(np.asarray(x, dtype=np.float32))
    return state


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(random_weights(), path)
    return path


def golden_image(name):
    with np.load(GOLDEN / "images_uint8.npz") as file:
        return torch.from_numpy(file[name]).permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="module")
def expected():
    with np.load(GOLDEN / "inception_random_weights.npz") as file:
        return {key: file[key] for key in file.files}


@pytest.mark.parametrize(
    ("variant", "tool"),
    [("tf1", "torch_fidelity"), ("clean", "clean_fid_clean"), ("legacy_pytorch", "clean_fid_legacy_pytorch")],
)
def test_features_match_the_tools(weights, expected, variant, tool):
    encoder = InceptionV3(variant=variant, outputs=list(OUTPUTS), weights=weights)
    for name in ("a_32", "b_256", "c_360x280"):
        found = encoder.forward_all(golden_image(name))
        for output, features in found.items():
            assert features.shape == (1, OUTPUTS[output])
            key = f"{name}/{tool}/{output}"
            if key in expected:
                want = expected[key]
                error = np.linalg.norm(features[0].numpy() - want) / np.linalg.norm(want)
                assert error < 1e-4, (key, error)
        if variant == "legacy_pytorch":
            want = expected[f"{name}/pytorch_fid/2048"]
            assert np.linalg.norm(found["2048"][0].numpy() - want) / np.linalg.norm(want) < 1e-4


@pytest.mark.parametrize(
    ("variant", "key", "scale"),
    [("tf1", "tf1_bilinear", (128, 128)), ("clean", "clean_pil_bicubic_float", (128, 128))],
)
def test_resized_images(expected, variant, key, scale):
    for name in ("a_32", "b_256", "c_360x280"):
        levels = prepare(golden_image(name), variant)[0].numpy() * scale[0] + scale[1]
        np.testing.assert_allclose(levels[:, ::4, ::4], expected[f"resize/{name}/{key}[::4,::4]"], atol=3e-3)


def test_one_file_several_outputs_batches_and_gradients(weights):
    encoder = InceptionV3(outputs=["2048", "spatial"], weights=weights)
    assert encoder.dim == 2048 and "tf1/2048" in encoder.signature
    assert encoder.signature_of("spatial") != encoder.signature
    images = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    whole = encoder.forward_all(images)
    single = torch.cat([encoder(images[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(whole["2048"], single, rtol=1e-5, atol=1e-5)
    assert whole["spatial"].shape == (3, 2023)
    leaf = images[:1].clone().requires_grad_()
    encoder(leaf).sum().backward()
    assert leaf.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in encoder.parameters())


def test_without_gradients_the_same_features_come_from_packed_weights(weights):
    encoder = InceptionV3(outputs=list(OUTPUTS), weights=weights)
    images = torch.rand(9, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    plain = encoder.forward_all(images.clone().requires_grad_())
    assert encoder._packed is None  # gradients go through torch's own convolutions
    packed = encoder.forward_all(images)
    assert encoder._packed is not None
    for output, features in plain.items():
        error = (packed[output] - features).norm() / features.norm()
        assert error < 2e-6, (output, error)
    for size in (1, 7):
        parts = [encoder.forward_all(part) for part in images.split(size)]
        for output in OUTPUTS:
            whole = torch.cat([part[output] for part in parts])
            assert (whole - packed[output]).norm() / packed[output].norm() < 1e-6, (size, output)


def test_packed_weights_follow_changed_ones(weights):
    encoder = InceptionV3(weights=weights)
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    before = encoder(images)
    twin = copy.deepcopy(encoder)
    torch.testing.assert_close(twin(images), before)
    with torch.no_grad():
        twin.network.Mixed_7c.branch1x1.conv.bias.add_(1.0)
    assert (twin(images) - before).abs().max() > 0.1
    torch.testing.assert_close(encoder(images), before)


def test_key_lists_load_strictly():
    with gzip.open(GOLDEN / "arch.json.gz") as file:
        archs = json.load(file)
    for name in ("torch_fidelity_inception", "pytorch_fid_fid_inception_v3", "pytorch_fid_InceptionV3_blocks"):
        state = {
            k: torch.empty(shape, device="meta", dtype=getattr(torch, dtype))
            for k, (shape, dtype) in archs[name].items()
        }
        with torch.device("meta"):
            network = Network()
        load_strict(network, canonical(state), name)


def test_messages(tmp_path, weights, monkeypatch):
    monkeypatch.setattr("drlbench.weights.files._in_package", lambda asset: None)
    with pytest.raises(UserError, match="did you mean 'clean'"):
        InceptionV3(variant="cleen", weights=weights)
    with pytest.raises(UserError, match="valid: 64, 192"):
        InceptionV3(outputs="pool3", weights=weights)
    with pytest.raises(MissingPrerequisite, match="no weights file"):
        InceptionV3(weights=tmp_path / "nothing.pth")
    (tmp_path / "bad.pth").write_bytes(b"\x80\x04not weights")
    with pytest.raises(IntegrityError, match=r"bad\.pth"):
        InceptionV3(weights=tmp_path / "bad.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="missing"):
        InceptionV3(weights=tmp_path / "other.pth")
    monkeypatch.setenv("DRLBENCH_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MissingPrerequisite, match="offline: the network was not touched"):
        InceptionV3()
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth").write_bytes(b"truncated")
    with pytest.raises(IntegrityError, match="fetch it again"):
        InceptionV3()

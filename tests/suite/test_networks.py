"""What validate finds of a network without its weights: what does not fit its images, its encoder or itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from drlbench.errors import UserError
from drlbench.suite.load import load_suite

SUITE = """\
suite: tiny
data: {kind: digits}
encoders:
  dae: {kind: small-dae, steps: 10}
  pix: {kind: pixels}
spaces: [pix]
backbones:
  b: FAMILY
runs: {base: {}}
sampling: {steps: 4, n: 20}
metrics: [fd]
"""
# ruff: noqa: E501 - one mistake a line reads best
SIZES = "hidden_size: 12, depth: 1, num_heads: 3"
RAE = "hidden_size: [12, 12], depth: [1, 1], num_heads: [3, 3]"


def written(folder: Path, backbone: str, data: str = "{kind: digits}") -> Path:
    path = folder / "suite.yaml"
    path.write_text(SUITE.replace("FAMILY", backbone).replace("{kind: digits}", data))
    return path


@pytest.mark.parametrize(
    ("family", "sizes", "more", "shape"),
    [
        ("sit", SIZES, "", (1, 8, 8)),
        ("jit", f"{SIZES}, patch_size: 2, in_context_len: 0, in_context_start: 0", "", (1, 8, 8)),
        ("repa", f"{SIZES}, encoder_depth: 1, z_dims: [64], projector_dim: 16", ", align: dae", (1, 8, 8)),
        ("rae", RAE, ", latent: {encoder: dae, channels: 5}", (5, 4, 4)),
        ("mlp", "hidden_size: 8, depth: 1", "", (1, 8, 8)),
    ],
)
def test_what_is_left_out_is_the_datas(
    tmp_path: Path, family: str, sizes: str, more: str, shape: tuple[int, int, int]
) -> None:
    suite = load_suite(
        written(tmp_path, f"{{family: {family}, architecture: {{{sizes}}}, pretrain: {{steps: 3}}{more}}}")
    )
    net = suite.networks["b"]
    assert (net.num_classes, tuple(net.latent_shape)) == (10, shape)
    assert all(p.is_meta for p in net.parameters())
    assert suite.spec.backbones["b"].architecture["num_classes"] == 10


@pytest.mark.parametrize(
    ("backbone", "key", "told"),
    [
        (f"{{family: sit, architecture: {{{SIZES}, num_classes: 7}}, pretrain: {{}}}}", "num_classes", "has 7 classes, the data 10"),
        (f"{{family: sit, architecture: {{{SIZES}, in_channels: 3}}, pretrain: {{}}}}", "in_channels", "takes 3x8x8 .*images are 1x8x8"),
        (f"{{family: sit, architecture: {{{SIZES}, input_size: 16}}, pretrain: {{}}}}", "input_size", "takes 1x16x16"),
        ("{family: sit, architecture: {hiden_size: 12}, pretrain: {}}", "hiden_size", "did you mean 'hidden_size'"),
        ("{family: sit, architecture: {hidden_size: '12'}, pretrain: {}}", "hidden_size", "valid integer"),
        ("{family: sit, architecture: {hidden_size: 13, num_heads: 1}, pretrain: {}}", "architecture", "not a multiple of 4"),
        ("{family: sit, architecture: {num_heads: 0}, pretrain: {}}", "architecture", "no network can be built"),
        ("{family: sit, architecture: {hidden_size: 0}, pretrain: {}}", "architecture", "a size is 0"),
        ("{family: sit, architecture: {hidden_size: 1000000}, pretrain: {}}", "hidden_size", "beyond 65,536"),
        ("{family: sit, architecture: {depth: 100000}, pretrain: {}}", "depth", "beyond 512"),
        ("{family: sit, size: jit-h-16, pretrain: {}}", "size", "a size of the family 'jit'"),
        (f"{{family: sit, architecture: {{{SIZES}}}, pretrain: {{}}, align: dae}}", "align", "for the repa family"),
        (f"{{family: repa, architecture: {{{SIZES}, encoder_depth: 1}}, pretrain: {{}}, align: dae}}", "b", "64 wide"),
        (f"{{family: repa, architecture: {{{SIZES}, encoder_depth: 1}}, pretrain: {{}}, align: pix}}", "align", "spatial"),
        (f"{{family: rae, architecture: {{{RAE}, input_size: 8}}, pretrain: {{}}, latent: {{encoder: dae}}}}", "input_size", "latents are 8x4x4"),
        ("{family: rae, architecture: {hidden_size: [12]}, pretrain: {}, latent: {encoder: dae}}", "architecture", "hidden_size"),
        ("{family: jit, size: jit-h-16, checkpoint: jit-h-16}", "b", "has 1000 classes, the data 10"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_its_place(tmp_path: Path, backbone: str, key: str, told: str) -> None:
    path = written(tmp_path, backbone)
    with pytest.raises(UserError, match=told) as caught:
        load_suite(path)
    line = path.read_text().splitlines()[7]
    assert f"{path}:8:{line.index(f' {key}:' if f' {key}:' in line else f'{{{key}:') + 2}: " in str(caught.value)


def test_images_of_ones_own_are_looked_at(tmp_path: Path) -> None:
    images, labels = np.zeros((40, 6, 6, 3), np.uint8), np.arange(40) % 4
    images[:] = np.arange(40, dtype=np.uint8)[:, None, None, None]
    np.savez(tmp_path / "x.npz", images=images, labels=labels)
    data = f"{{kind: npz, path: {tmp_path / 'x.npz'}}}"
    suite = load_suite(written(tmp_path, f"{{family: sit, architecture: {{{SIZES}}}, pretrain: {{}}}}", data))
    assert suite.networks["b"].latent_shape == (3, 6, 6) and suite.networks["b"].num_classes == 4
    assert suite.images.keyed["fingerprint"] and suite.images.absent is None


def test_mistakes_of_every_kind_come_at_once(tmp_path: Path) -> None:
    text = SUITE.replace(
        "FAMILY", f"{{family: sit, architecture: {{{SIZES}, num_classes: 7}}, pretrain: {{steps: 0}}}}"
    )
    text = text.replace("steps: 10", "stepz: 10").replace("spaces: [pix]", "spaces: [pix, pix, px]")
    path = tmp_path / "suite.yaml"
    path.write_text(text.replace("n: 20", "n: '20'").replace("runs: {base: {}}", "runs: {base: {lamda: [1]}, x?: {}}"))
    with pytest.raises(UserError) as caught:
        load_suite(path)
    told = str(caught.value)
    for mistake in ("stepz", "pix is given twice", "'px'", "n: input should be a valid integer, not '20'",
                    "lamda", "'x?' is not a name", "steps: input should be greater than or equal to 1"):  # fmt: skip
        assert mistake in told, mistake
    places = [line for line in told.splitlines() if line.startswith(str(path))]
    assert places == sorted(places, key=lambda line: [int(x) for x in line[len(str(path)) + 1 :].split(":")[:2]])


def test_validate_brings_no_compiler() -> None:
    code = (
        "import sys\nfrom drlbench.suite.load import load_suite\nload_suite('digits-all')\nload_suite('imagenet256')\n"
        "sys.exit(any(m in sys.modules for m in ('torch._dynamo', 'sklearn', 'transformers', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

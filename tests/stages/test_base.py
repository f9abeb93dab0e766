"""A base model from a checkpoint: a reference in the store, checked whenever it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from drlbench.backbones import create
from drlbench.backbones.origin import identity
from drlbench.errors import IntegrityError, MissingPrerequisite, UserError
from drlbench.plan.pipeline import lay_out
from drlbench.stages import Job, base, samples
from drlbench.stages.files import load_model, read_config, save_finetuned
from drlbench.suite.load import load_suite

TINY = {
    "input_size": 8,
    "patch_size": 2,
    "in_channels": 4,
    "hidden_size": 16,
    "depth": 1,
    "num_heads": 4,
    "num_classes": 10,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SiT's training checkpoint and a small SD-VAE (one halving, four latent channels)."""
    from diffusers import AutoencoderKL

    folder = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = create("sit", **TINY, learn_sigma=False)
        torch.nn.init.normal_(net.final_layer.linear.weight)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            layers_per_block=1,
            norm_num_groups=4,
            latent_channels=4,
        )
    state = net.state_dict()
    torch.save({"ema": state, "model": {k: torch.zeros_like(v) for k, v in state.items()}}, folder / "sit.pt")
    vae.save_pretrained(folder / "vae")
    return folder


def job(tmp_path: Path, settings: dict[str, Any], **inputs: Path) -> Job:
    out = tmp_path / "out"
    out.mkdir(parents=True)
    return Job(settings, inputs, out, tmp_path / "partial", "cpu", lambda done: None)


def bring(tmp_path: Path, checkpoint: Path, autoencoder: str, **model: Any) -> Path:
    settings = {
        "model": {"name": "sit", "architecture": {"num_heads": 4}, "ema": None, **model},
        "where": {"checkpoint": str(checkpoint), "autoencoder": autoencoder},
    }
    task = job(tmp_path, settings)
    base.run(task)
    return task.out


def test_a_reference_not_a_copy(files: Path, tmp_path: Path) -> None:
    folder = bring(tmp_path, files / "sit.pt", str(files / "vae"))
    assert sum(p.stat().st_size for p in folder.iterdir()) < 3000
    model = load_model(folder)
    state = torch.load(files / "sit.pt", weights_only=True)["ema"]
    torch.testing.assert_close(dict(model.net.state_dict()), dict(state))
    assert not any(p.requires_grad for p in model.parameters())
    assert model.decode(torch.zeros(1, 4, 8, 8)).shape == (1, 3, 16, 16)
    assert read_config(folder)["architecture"] == {**TINY, "mlp_ratio": 4.0, "learn_sigma": False}


def test_a_fine_tuned_copy_is_whole_and_keeps_the_autoencoder(files: Path, tmp_path: Path) -> None:
    folder = bring(tmp_path, files / "sit.pt", str(files / "vae"))
    model = load_model(folder, trainable=True)
    assert {n.partition(".")[0] for n, p in model.named_parameters() if p.requires_grad} == {"net"}
    with torch.no_grad():
        model.net.final_layer.linear.weight.add_(1.0)
    (tmp_path / "tuned").mkdir()
    save_finetuned(tmp_path / "tuned", model, folder)
    again = load_model(tmp_path / "tuned")
    torch.testing.assert_close(dict(again.net.state_dict()), dict(model.net.state_dict()))
    assert type(again.autoencoder) is type(model.autoencoder)


def test_samples_of_a_latent_model(files: Path, tmp_path: Path) -> None:
    folder = bring(tmp_path / "base", files / "sit.pt", str(files / "vae"))
    sampling = {"sampler": "heun", "steps": 2, "n": 3, "seed": 0, "cfg": 2.0, "low": 0.0, "high": 1.0}
    task = job(tmp_path / "samples", sampling, model=folder)
    samples.run(task)
    with np.load(task.out / "samples.npz", allow_pickle=False) as data:
        assert data["images"].shape == (3, 16, 16, 3)
        assert data["outside"].shape == (3,)


def test_what_changed_since_is_noticed(files: Path, tmp_path: Path) -> None:
    moved = tmp_path / "w.pt"
    moved.write_bytes((files / "sit.pt").read_bytes())
    folder = bring(tmp_path, moved, str(files / "vae"))
    torch.save(create("sit", **TINY).state_dict(), moved)
    with pytest.raises(IntegrityError, match=r"w.pt: sha256 \w{12} is not the \w{12}"):
        load_model(folder)
    moved.unlink()
    with pytest.raises(MissingPrerequisite, match=r"w.pt: no such file"):
        load_model(folder)


def test_an_autoencoder_of_other_latents(files: Path, tmp_path: Path) -> None:
    torch.save(create("sit", **{**TINY, "in_channels": 3}).state_dict(), tmp_path / "three.pt")
    with pytest.raises(UserError, match=r"cannot decode latents of shape \(3, 8, 8\)"):
        bring(tmp_path, tmp_path / "three.pt", str(files / "vae"))
    with pytest.raises(UserError, match=r"sit.pt: .*no state dict under 'ema2'"):
        bring(tmp_path / "x", files / "sit.pt", "pixels", ema="ema2")


SUITE = """
suite: t
data: {{kind: digits}}
encoders: {{pixels: {{kind: pixels}}}}
spaces: [pixels]
backbones:
  mine: {{family: sit, architecture: {{num_heads: 4}}, checkpoint: {checkpoint}, autoencoder: {vae}}}
base_seeds: [0, 1]
runs: {{base: {{}}}}
sampling: {{steps: 2, n: 4}}
metrics: [fd]
"""


def test_the_key_is_the_content_not_the_place(files: Path, tmp_path: Path) -> None:
    def base_keys(checkpoint: Path) -> list[str]:
        path = tmp_path / "t.yaml"
        path.write_text(SUITE.format(checkpoint=checkpoint, vae=files / "vae"))
        graph = lay_out(load_suite(path))
        return [key for key, node in graph.nodes.items() if node.kind == "base"]

    first = base_keys(files / "sit.pt")
    assert len(first) == 1  # one set of weights, whatever the base seed
    copy = tmp_path / "copy.pt"
    copy.write_bytes((files / "sit.pt").read_bytes())
    assert base_keys(copy) == first
    torch.save(create("sit", **TINY).state_dict(), copy)
    assert base_keys(copy) != first
    assert base_keys(tmp_path / "gone.pt") not in (first, base_keys(copy))


def test_identity_of_cards() -> None:
    found = identity("sit-xl-2-256", "sd-vae-ft-ema")
    assert found["checkpoint"]["card"] == "sit-xl-2-256"
    assert found["autoencoder"] == {"card": "sd-vae-ft-ema"}
    with pytest.raises(UserError, match=r"unknown autoencoder 'sd-vae-ft' \(did you mean 'sd-vae-ft-mse'"):
        identity("sit-xl-2-256", "sd-vae-ft")

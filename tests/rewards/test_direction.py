import pytest
import torch

from drlbench.errors import UserError
from drlbench.registry import REWARDS


def test_a_direction_is_a_weighted_sum_with_a_constant_gradient():
    reward = REWARDS.get("direction")(name="right", weights=[4.0, -1.0])
    images = torch.tensor([[0.0, 0.5], [1.0, 1.0]]).view(2, 1, 1, 2).requires_grad_()
    scores = reward(images, torch.zeros(2, dtype=torch.int64))
    assert scores.tolist() == [-4.0, 3.0] and scores.dtype == torch.float32
    (gradient,) = torch.autograd.grad(scores.sum(), images)
    assert gradient.flatten(1).tolist() == [[8.0, -2.0]] * 2
    assert reward.signature == "direction:4,-1" and reward.name == "right"


def test_images_of_another_size_are_refused():
    reward = REWARDS.get("direction")(name="right", weights=[1.0])
    with pytest.raises(UserError, match="1 weights for images of 2 values"):
        reward(torch.zeros(1, 1, 1, 2), torch.zeros(1, dtype=torch.int64))

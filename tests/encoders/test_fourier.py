import numpy as np
import torch

from drlbench.data.toy import toy
from drlbench.registry import ENCODERS
from drlbench.stages.files import load_encoder


def test_fourier_features_are_sines_and_cosines_of_fixed_frequencies(tmp_path):
    data = toy("spiral", 200)
    kind = ENCODERS.get("fourier")
    encoder, _ = kind.fit(data.train_images, data.train_labels, {"frequencies": 5, "bandwidth": 3.0}, 7)
    images = torch.rand(4, 1, 1, 2, requires_grad=True)
    features = encoder(images)
    assert features.shape == (4, encoder.dim) == (4, 10)
    sin, cos = (features / encoder.scale).chunk(2, dim=1)
    assert torch.allclose(sin**2 + cos**2, torch.ones(4, 5), atol=1e-5)
    assert torch.allclose(sin, (2 * torch.pi * images.flatten(1) @ encoder.frequencies).sin(), atol=1e-5)
    assert torch.autograd.grad(features.sum(), images)[0].abs().min() > 0
    again, _ = kind.fit(data.train_images, data.train_labels, {"frequencies": 5, "bandwidth": 3.0}, 7)
    assert again.signature == encoder.signature
    other, _ = kind.fit(data.train_images, data.train_labels, {"frequencies": 5, "bandwidth": 3.0}, 8)
    assert not np.allclose(other.frequencies, encoder.frequencies)
    encoder.save(tmp_path)
    assert torch.equal(load_encoder(tmp_path)(images), features)

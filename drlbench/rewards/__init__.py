"""Rewards: differentiable scores of images, fitted here or published. No backbone and no metric is known here."""

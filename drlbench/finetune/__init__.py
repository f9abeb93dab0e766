"""Fine-tuning algorithms and what they share, over the protocols of a model and a reward. No backbone is named here."""

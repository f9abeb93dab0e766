"""drlbench: an evaluation-first benchmark for RL post-training of flow-matching image models."""

__version__ = "0.1.0"

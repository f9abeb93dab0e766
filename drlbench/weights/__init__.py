"""Weights files of the outside world: what they are, and how they come here. Nothing in here imports torch."""

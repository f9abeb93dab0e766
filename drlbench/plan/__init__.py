"""A suite as a graph of stages, and what it needs from outside. Nothing is computed here."""

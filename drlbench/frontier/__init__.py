"""Pareto fronts, hypervolumes and their uncertainty, in numpy. Knows points only, no run and no suite."""

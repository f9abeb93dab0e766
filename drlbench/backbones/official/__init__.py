"""What each family's authors do to sample, step for step: their time, guidance, order of operations and rounding."""

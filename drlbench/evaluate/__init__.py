"""What can be had without a suite: scores of any images, samples of any checkpoint. No stage, no store."""

"""One run of a plan: own the folder, execute, watch, collect. What a stage computes lives in `stages`."""

"""Models whose samples are the data of a distillation: `python -m drlbench.teachers` writes them."""

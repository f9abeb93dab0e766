"""Weights files of the outside world: what they are, how they come here, how they are read and put into a network.

No network is known here. `asset`, `catalogue`, `files` and `parts` import no torch; `read`, `copies` and `strict` do.
"""

"""What `drlbench list` says of sizes, checkpoints and autoencoders."""

from __future__ import annotations

from drlbench.backbones.cards import AUTOENCODERS, CARDS
from drlbench.backbones.listing import LISTINGS
from drlbench.backbones.sizes import SIZES


def test_every_name_is_listed() -> None:
    text = {kind: "\n".join(lines()) for kind, lines in LISTINGS.items()}
    assert all(name in text["sizes"] for name in SIZES)
    assert all(f"\n{name}: " in "\n" + text["checkpoints"] for name in CARDS)
    assert all(f"\n{name}: " in "\n" + text["autoencoders"] for name in AUTOENCODERS)


def test_a_checkpoint_says_what_is_estimated_and_what_was_published() -> None:
    lines = list(LISTINGS["checkpoints"]())
    start = next(i for i, line in enumerate(lines) if line.startswith("sit-xl-2-256: "))
    assert lines[start] == "sit-xl-2-256: sit-xl-2, autoencoder sd-vae-ft-ema, raw state dict"
    assert (
        "about 2.70 GB, counted from the parameters; no checksum is known; licence: MIT (of the code"
        in lines[start + 1]
    )
    assert "fid 2.06: 50,000 samples, ADM" in lines[start + 2]
    assert "a gate can measure it: sde_Euler_sigma_Mean in 250 steps" in lines[start + 2]
    jit = next(line for line in lines if line.startswith("jit-h-16: "))
    assert jit.endswith("training checkpoint, of which model_ema1 is taken")
    assert any(line.endswith(", by hand") for line in lines)

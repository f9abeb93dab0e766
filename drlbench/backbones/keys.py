"""One name that only this network's weights have, for each published network."""

from __future__ import annotations

from collections.abc import Mapping

from drlbench.backbones.known import Known

_OWN = {
    "jit": "x_embedder.proj1.weight",
    "repa": "projectors.0.0.weight",
    "rae": "s_embedder.proj.weight",
    "rae-autoencoder decoder": "decoder_pred.weight",
    "mlp": "embed_time.weight",
    # Timm's vision transformers, too, have `blocks.0.attn.qkv.weight`, and lie in the same files as encoders.
    "sit": "blocks.0.adaLN_modulation.1.weight",
}
FINGERPRINTS: Mapping[str, str] = Known(_OWN, lambda name, kind: {name: kind.fingerprint} if kind.fingerprint else {})


def marks() -> tuple[str, ...]:
    """Every such name."""
    return tuple(FINGERPRINTS.values())

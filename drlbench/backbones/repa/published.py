"""What REPA's authors published: sizes, the checkpoint with its number, and the paper's settings, which are SiT's."""

from __future__ import annotations

from drlbench.backbones.cards import FLOAT32, Card, Published
from drlbench.backbones.protocols import ADM, Protocol
from drlbench.backbones.sit.published import AUTOENCODER, transformer
from drlbench.weights.asset import Asset

DROPBOX = (
    "https://www.dl.dropboxusercontent.com/scl/fi/cxedbs4da5ugjq5wg3zrg/last.pt"
    "?rlkey=8otgrdkno0nd89po3dpwngwcc&st=apcc645o&dl=1"
)
SIZES = {
    f"repa-sit-{size}-2{suffix}": transformer(size, pixels, 2)
    for pixels, suffix in ((256, ""), (512, "-512"))
    for size in ("b", "l", "xl")
}
SDE = Protocol("sde", 250, cfg=1.8, low=1 - 0.7, labels="random")  # guidance for t <= 0.7 with t = 1 noise
CARDS: tuple[Card, ...] = (
    Card(
        "repa-sit-xl-2-256",
        "repa-sit-xl-2",
        Asset("repa-sit-xl-2-256", "last.pt", url=DROPBOX, size=683_242_512 * FLOAT32, licence="MIT"),
        AUTOENCODER,
        "raw state dict",
        published=(
            Published(
                "fid",
                1.42,
                f"{ADM}, SDE 250, guidance 1.8 for t <= 0.7 (t = 1 noise)",
                "REPA README, 2025-01",
                SDE,
            ),
        ),
    ),
)

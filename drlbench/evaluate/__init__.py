"""What can be had without a suite: scores of any images, samples of any checkpoint. No stage, no store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drlbench.evaluate.score import evaluate

__all__ = ["evaluate"]


def __getattr__(name: str) -> Any:
    """`evaluate`, imported when it is asked for: it needs torch."""
    if name == "evaluate":
        from drlbench.evaluate.score import evaluate

        return evaluate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

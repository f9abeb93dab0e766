"""Take out of the store exactly what is damaged and what was made from it, so that a run makes it again."""

from __future__ import annotations

from collections.abc import Sequence

from drlbench.errors import IntegrityError
from drlbench.plan.node import Node
from drlbench.store import atomic, checkpoint
from drlbench.store.layout import Store


def repair(nodes: Sequence[Node], store: Store) -> list[str]:
    """Compare every finished stage, and every checkpoint of an unfinished one, with its checksums; discard the damaged.

    Args:
        nodes: the stages of a run, inputs before users.

    Returns:
        A line per stage that was discarded.
    """
    lines: list[str] = []
    doomed: set[str] = set()
    for node in nodes:
        folder, partial = store.folder(node.kind, node.key), store.partial(node.key)
        source = next((key for _, key in node.inputs.values() if key in doomed), None)
        why = f"{node.label}: made from what was damaged" if source else None
        if why is None and store.has(node.kind, node.key):
            try:
                atomic.check(store.bring(node.kind, node.key), node.key)
            except IntegrityError as error:
                why = f"{node.label}: {error}"
        if why is not None:
            doomed.add(node.key)
            if folder.exists():
                store.discard(folder)
                lines.append(why)
        if partial.is_dir():
            try:
                checkpoint.check(partial)
            except IntegrityError as error:
                lines.append(f"{node.label}: {error}")
                why = str(error)
            if why is not None:
                store.discard(partial)
    return lines

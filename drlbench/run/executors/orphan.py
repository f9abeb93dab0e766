"""No process of a run lives on after the one that started it."""

from __future__ import annotations

import os
import threading
import time


def end_with(parent: int) -> None:
    """End this process soon after its parent, however that one ends."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

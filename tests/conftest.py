"""One thread a process, set before anything imports numpy or torch: oversubscription costs a factor of 3 to 6."""

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
# Nothing under test may reach a hub; what needs one is tested against a local server.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

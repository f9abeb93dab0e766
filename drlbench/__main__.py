"""`python -m drlbench`."""

from drlbench.cli import main

main()

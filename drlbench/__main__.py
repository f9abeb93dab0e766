"""`python -m drlbench`."""

from drlbench.cli.main import main

main()

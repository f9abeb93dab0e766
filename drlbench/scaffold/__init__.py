"""`drlbench new`: packages and suites for the user to change. Writes files, runs nothing."""

"""Throughput of one backbone, measured. Estimates live in `cost`."""

"""Throughput of one backbone, measured. Estimates live in `cost`; no suite is run here."""

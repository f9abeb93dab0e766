"""Artefacts on disk: atomic writes, checksums, keys, locks and provenance. Does not know what an artefact means."""

"""Real images of a suite: digits, npz, class folders, parquet and tar files. No model, encoder or metric here."""

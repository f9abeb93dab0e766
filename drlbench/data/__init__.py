"""Real images of a suite: digits, npz, class folders, parquet and tar files."""

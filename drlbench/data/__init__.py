"""Real images and preference tables: digits, npz, parquet and image folders."""

"""Frozen representations: fitted here or published. No reward, metric or backbone is known here."""

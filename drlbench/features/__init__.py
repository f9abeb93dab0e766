"""Images to features and moments, and reference statistics. No metric, reward or backbone is known here."""

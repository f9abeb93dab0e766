"""A suite file to a checked suite and its cells. No stage is planned and nothing is trained here."""

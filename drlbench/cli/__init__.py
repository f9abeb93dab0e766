"""The command line: verbs, one file a group. No work is done here."""

"""Where stages are executed: processes of this machine, ranks of a process group. No suite is known here."""

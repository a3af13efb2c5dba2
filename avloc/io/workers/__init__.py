"""Worker processes: supervised ones that run tasks of any origin, and simple ones for our own work."""

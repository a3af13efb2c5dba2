"""Records plus features or clips > batches for networks."""

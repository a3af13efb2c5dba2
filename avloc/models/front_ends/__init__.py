"""Front ends that learn: the sound or the mouth itself > embeddings on the network's clock."""

"""The inputs of a network: from clips or from cached features, window by window."""

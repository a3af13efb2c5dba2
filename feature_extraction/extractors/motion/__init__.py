"""Extractors of motion: optical flow, pooled on a grid of cells."""

"""Augmentations of the picture."""

"""Augmentations of the sound."""

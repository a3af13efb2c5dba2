"""Prediction files of other programs, the names of their clips, and signs that a file means something else than it says."""

"""Overviews, checks and contact sheets of a dataset."""

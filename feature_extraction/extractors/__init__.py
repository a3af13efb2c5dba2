"""Extractors: frames or samples of a clip > features, one row per step."""

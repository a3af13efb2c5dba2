"""Evaluation > text tables, CSV, and an html page."""

"""Rows of several systems > one list of rows for each clip."""

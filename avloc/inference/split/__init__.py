"""The clips of a dataset's split: their prediction, in memory or part by part into a file, and their labels for scoring."""

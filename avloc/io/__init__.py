"""Input and output: atomic files, streamed JSON, weights, figures and worker processes."""

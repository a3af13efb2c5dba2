"""The package's own localizer: points per modality over a pyramid of two streams that attend to each other."""

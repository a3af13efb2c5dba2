"""BA-TFD and BA-TFD+: networks that score every segment of a clip in a boundary map."""

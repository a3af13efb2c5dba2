"""The encoders of BA-TFD and BA-TFD+: frames, log-mels or cached features > one vector per frame, (B, C, T)."""

"""Parts of the verbs that read scores: evaluate, calibrate and fuse."""

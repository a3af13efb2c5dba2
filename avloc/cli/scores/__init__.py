"""The verbs that fit on labelled scores, calibrate, fuse and tune, and the parts that they and evaluate share."""

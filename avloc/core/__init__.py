"""Core vocabulary on numpy alone: time, records, proposals, columns, calibration and descriptions."""

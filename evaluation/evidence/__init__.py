"""Scores as evidence: ROC curves, detection costs, calibration, and rates weighted by duration."""

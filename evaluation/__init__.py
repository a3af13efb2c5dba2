"""Scores: predictions and truth > AP, AR, reports. Needs numpy only; torch is never imported."""

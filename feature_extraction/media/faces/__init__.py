"""Frames > faces and their landmarks, five times a second > one smooth track."""

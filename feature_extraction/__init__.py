"""From media files to cached features."""

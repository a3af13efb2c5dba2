"""Generated datasets: compositions > forgeries > mp4 clips with labels."""

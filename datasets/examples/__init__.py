"""One clip as a network takes it, and changes of it."""

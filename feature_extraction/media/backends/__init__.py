"""Decoders: an open file > frames and samples on the clip's clock."""

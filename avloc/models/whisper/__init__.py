"""The beginning of Whisper Base's encoder, with weights in the package."""

"""The errors that a user can cause: the command line prints their one line and exits with code 2."""


class AvlocError(ValueError):
    """A wrong input: says what was wanted, what came, and in which file."""


class MediaError(AvlocError):
    """A clip that cannot be decoded."""


class CheckpointError(AvlocError):
    """A checkpoint that is not ours, is of another model, or does not fit the data."""


class StoreError(AvlocError):
    """A feature store that is missing, damaged, or was made with other settings."""


def first_line(error: Exception, length: int = 300) -> str:
    """An exception's text on one line, cut."""
    text = " ".join(str(error).split())
    return text if len(text) < length else f"{text[:length]} …"

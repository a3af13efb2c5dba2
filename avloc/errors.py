"""Errors that a user can cause: the command line prints their single line and exits with code 2."""


class AvlocError(ValueError):
    """A wrong input; the message says what was expected, what came, and in which file.

    >>> raise AvlocError("clips.json: want a list of clips, got a number")
    Traceback (most recent call last):
        ...
    avloc.errors.AvlocError: clips.json: want a list of clips, got a number
    """


class MediaError(AvlocError):
    """A clip that cannot be decoded."""


class CheckpointError(AvlocError):
    """A checkpoint that avloc did not write, that is of another model, or that does not fit the data."""


class StoreError(AvlocError):
    """A feature store that is missing, damaged, or was made with other settings."""


def one_line(error: Exception, length: int = 300) -> str:
    r"""Return an exception's text on one line, shortened to `length` characters.

    >>> one_line(ValueError("two\n  lines"))
    'two lines'
    """
    text = " ".join(str(error).split())
    return text if len(text) < length else f"{text[:length]} …"

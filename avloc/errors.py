"""Errors that a user can cause: the command line prints their single line and exits with code 2."""


class AvlocError(ValueError):
    """A wrong input; the message names the expected and the actual value, and the file.

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


def shown(name: object) -> str:
    r"""Return a path or a text as one printable line, for messages and logs.

    Control characters, terminal escapes, line ends, invisible characters and surrogates (the undecodable bytes of a name that
    is not UTF-8) become escapes. A text that is printable already stays as it is.

    >>> print(shown("a\x1b[2J\n\udcff ü.mp4"))
    a\x1b[2J\n\udcff ü.mp4
    """
    text = str(name)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(count: int, noun: str) -> str:
    """Format a number with its noun.

    >>> counted(1, "clip"), counted(1200, "clip")
    ('1 clip', '1,200 clips')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def one_line(error: object, length: int | None = 300) -> str:
    r"""Return an exception's text on one printable line, shortened to `length` characters; None: whole.

    >>> one_line(ValueError("two\n  lines"))
    'two lines'
    """
    text = shown(" ".join(str(error).split()))
    return text if length is None or len(text) < length else f"{text[:length]} …"


def describe_error(error: Exception) -> str:
    """Describe a failure in one line: an error of ours by its message, any other also by its type.

    >>> describe_error(ZeroDivisionError("division by zero"))
    'ZeroDivisionError: division by zero'
    >>> describe_error(AvlocError("a.mp4: no such file"))
    'a.mp4: no such file'
    """
    if isinstance(error, AvlocError) and str(error).strip():
        return shown(str(error).strip())  # one line already, but for a line end in the name of a file
    return f"{type(error).__name__}: {one_line(error, None)}"

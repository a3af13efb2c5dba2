"""The errors that a user can cause: the command line prints their one line and exits with code 2."""


class AvlocError(ValueError):
    """A wrong input: says what was wanted, what came, and in which file."""


class MediaError(AvlocError):
    """A clip that cannot be decoded."""


class CheckpointError(AvlocError):
    """A checkpoint that is not ours, is of another model, or does not fit the data."""


class StoreError(AvlocError):
    """A feature store that is missing, damaged, or was made with other settings."""

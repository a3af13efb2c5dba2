"""The name of a device > the same name if PyTorch can use it here."""

from __future__ import annotations

from avloc.errors import AvlocError, one_line

EXAMPLES = "want cpu, cuda, or one of several GPUs as cuda:1"


def require_device(device: str) -> str:
    """Check that a device can be used, and return it.

    Args:
        device: as PyTorch names it.

    Raises:
        AvlocError: if PyTorch does not know or see it.

    >>> require_device("cpu")
    'cpu'
    """
    import torch

    try:
        torch.device(device)
    except RuntimeError as error:  # its message lists devices that nobody has
        raise AvlocError(f"device {device!r} cannot be used here: unknown, {EXAMPLES}") from error
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch without CUDA asserts
        reason = one_line(error).partition(". ")[0]
        raise AvlocError(f"device {device!r} cannot be used here: {reason}; {EXAMPLES}") from error
    return device

"""What goes wrong through no fault of the program."""

from __future__ import annotations

import errno


class InputError(ValueError):
    """Something the user gave is wrong. The message is one sentence: the place, the value, the cure.

    The command line prints it without a traceback and exits with code 2.
    """


def full_disk(error: BaseException | None) -> OSError | None:
    """The refusal of a full disk, a used-up quota or a limit of a file's size (``ulimit -f``) that ``error`` is or was
    led to by; None for anything else."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return error
        error = error.__cause__ or error.__context__
    return None


def no_room(full: OSError) -> str:
    """What ``full_disk`` found, and the cure; the sentence may go on."""
    if full.errno == errno.EFBIG:
        return "a file larger than the limit (ulimit -f) or the disk allows; raise it or choose another folder"
    return "the disk is full; free some space or choose another folder"

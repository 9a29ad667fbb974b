"""What goes wrong through no fault of the program."""


class InputError(ValueError):
    """Something the user gave is wrong. The message is one sentence: the place, the value, the cure.

    The command line prints it without a traceback and exits with code 2.
    """

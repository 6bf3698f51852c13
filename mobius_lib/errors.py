"""The errors a user of the library can cause: each is one sentence that says what was wrong and what to do."""


class MobiusError(Exception):
    """Base of all of them; the command line prints its sentence and exits with status 2."""


class DataError(MobiusError):
    """A data file or folder is missing, damaged, or laid out in another way than expected."""


class CheckpointError(MobiusError):
    """A checkpoint is missing, damaged, or belongs to another model or recipe."""

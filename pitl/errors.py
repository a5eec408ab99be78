"""The one exception that users see as a sentence instead of a traceback."""


class PitlError(Exception):
    """Something the user can mend: says what was found, where, and what to do."""

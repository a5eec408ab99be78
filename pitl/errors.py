"""The one exception that users see as a sentence instead of a traceback."""


class PitlError(Exception):
    """Something the user can mend: says what was found, where, and what to do."""

    def __str__(self) -> str:
        """One line that a terminal may show, whatever the names in it hold."""
        return printable(super().__str__())


def printable(text: str) -> str:
    """The text in one line, control characters and bytes that are no text as escapes."""
    if text.isprintable():
        return text
    text = text.replace("\n", " ").replace("\xa0", " ")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

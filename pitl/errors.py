"""The one exception that users see as a sentence instead of a traceback."""

import re

_LONGEST_WORD, _LONGEST = 300, 1400  # characters of what is shown: names and values in files may be endless


class PitlError(Exception):
    """Something the user can mend: says what was found, where, and what to do."""

    def __str__(self) -> str:
        """One line that a terminal may show, whatever the names in it hold."""
        text = re.sub(rf"\S{{{_LONGEST_WORD},}}", lambda word: _cut(word[0], 200), printable(super().__str__()))
        return _cut(text, _LONGEST) if len(text) > _LONGEST else text


def _cut(text: str, length: int) -> str:
    """The beginning and the end."""
    return f"{text[: length * 3 // 4]} … {text[-length // 4 :]}"


def printable(text: str) -> str:
    """The text in one line, control characters and bytes that are no text as escapes."""
    if text.isprintable():
        return text
    text = text.replace("\n", " ").replace("\xa0", " ")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

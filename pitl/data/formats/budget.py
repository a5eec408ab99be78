"""What one foreign file may ask for, counted before anything is allocated: a few bytes cannot declare gigabytes."""

from dataclasses import dataclass

from pitl.errors import PitlError

FILE_BYTES = 2**30
VALUES = 2**26  # 512 MiB as float64: 16 channels at 2000 Hz for 35 minutes
VARIABLES = 10_000
COLUMNS = 4096
TEXT = 2**22  # characters in all names together
NAME = 200  # characters in one name
DEPTH = 32  # groups, structs and cells within each other


@dataclass
class Budget:
    """Counts what a file has asked for so far.

    Raises:
        PitlError: from each method, when it is more than a recording needs; the sentence lacks the file's name.
    """

    values: int = 0
    variables: int = 0
    text: int = 0

    def take_values(self, name: str, count: int) -> None:
        self.values += count
        if self.values > VALUES:
            raise PitlError(
                f"{name[:NAME]} brings it to {self.values:.3g} values, and {VALUES:.2g} in one file are the most that "
                "are read; keep the channels that are needed, or cut the recording into several files"
            )

    def take_variable(self, name: str) -> None:
        self.variables += 1
        if self.variables > VARIABLES:
            raise PitlError(
                f"holds more than {VARIABLES} arrays and groups (at {name[:NAME]}), more than are read; save one "
                "matrix of samples by channels"
            )

    def take_text(self, name: str, count: int) -> None:
        self.text += count
        if self.text > TEXT:
            raise PitlError(f"holds more than {TEXT} characters of text (at {name[:NAME]}); leave the text out")

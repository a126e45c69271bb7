"""How a table is written in a text file: encoding, delimiter, header, and the lines around the rows."""

from dataclasses import dataclass

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}


@dataclass(frozen=True)
class Dialect:
    """How the rows of one text file are read; by default UTF-8 with commas and the header in its first line."""

    names: tuple[str, ...] = ()
    """The columns."""
    header: tuple[str, ...] = ()
    """The cells of the header as they are written."""
    n_cells: int = 0
    """How many cells a row has: more than there are names if rows end in a delimiter."""
    delimiter: str = ","
    decimal: str = "."
    is_padded: bool = False
    """Whether cells are surrounded by blanks."""
    n_before: int = 1
    """How many lines come before the first row; the last of them is the header."""
    n_above: int = 0
    """How many lines are above the header."""
    units_line: int = 0
    """The number of the line that holds units; 0 if there is none."""
    encoding: str = "utf-8"
    packing: str = ""
    """`gzip` or `zip` if the file is compressed, else ""."""
    member: str = ""
    """The path of the file in a zip archive."""

    def differences(self) -> str:
        """What differs from a plain CSV file, in words; "" if nothing does."""
        lines = "line is" if self.n_above == 1 else "lines are"
        differences = (
            f"{self.packing} file" if self.packing else "",
            f"member {self.member}" if self.member else "",
            {"utf-8": "", "cp1252": "Windows-1252"}.get(self.encoding, self.encoding.upper()),
            "" if self.delimiter == "," else f"cells separated by {DELIMITERS[self.delimiter]}",
            "" if self.decimal == "." else "decimal commas",
            f"header in line {self.n_above + 1:,} ({self.n_above:,} {lines} skipped)" if self.n_above else "",
        )
        return ", ".join(filter(None, differences))

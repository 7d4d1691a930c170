"""Tables in Markdown."""

from collections.abc import Sequence

__all__ = ["table"]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, indent: int = 0) -> str:
    """Return a table, indented by this number of blanks as in an item of a list."""
    lines = [
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(" " * indent + line for line in lines)

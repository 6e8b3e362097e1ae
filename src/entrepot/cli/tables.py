"""Tables for a terminal, drawn with rich."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from entrepot.paths import printable


def drawn_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The table as text with escape sequences, as wide as the terminal; control characters of its cells are escaped."""
    console = Console(file=io.StringIO(), force_terminal=True, highlight=False, emoji=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in titles:
        table.add_column(title.lower(), overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    with console.capture() as captured:
        console.print(table)
    return captured.get()

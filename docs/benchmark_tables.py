"""Directive for tables of benchmarks/results.json.

``.. benchmark-table:: NAME`` shows all columns of a table, option ``:columns:`` some of
them, separated by ``|``. Below the table, it says how, when and where it was measured.
"""

import csv
import io
import json
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.parsers.rst.directives.tables import CSVTable

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results.json"


def as_text(column):
    """Write a column, its numbers with as many decimals as the longest of them has."""
    decimals = [str(x).partition(".")[2] for x in column if isinstance(x, float)]
    n = max(map(len, decimals), default=0)
    return [f"{x:.{n}f}" if isinstance(x, float) else str(x) for x in column]


def select(table, columns=None):
    """Return header and rows of a table, with empty cells where there is no value."""
    names = list(dict.fromkeys(name for row in table["rows"] for name in row))
    if columns:
        missing = set(columns) - set(names)
        if missing:
            raise KeyError(f"no columns {sorted(missing)}, only {names}")
        names = columns
    values = [as_text([row.get(name, "") for row in table["rows"]]) for name in names]
    return [names, *zip(*values, strict=True)]


def origin(table):
    """Return a sentence on how, when and where a table was measured."""
    versions = [f"{name} {number}" for name, number in table["versions"].items()]
    n = table["threads"]
    computer = f"{table['processor']}, {n} thread{'s' * (n != 1)}"
    parts = [table["date"], computer, table["core"], ", ".join(versions), table.get("note")]
    if table.get("carried_over"):
        parts.insert(0, "carried over from printed output")
    return f"``{table['command']}``; " + "; ".join(part for part in parts if part)


class BenchmarkTable(CSVTable):
    """A table of the file of results."""

    required_arguments, optional_arguments, has_content = 1, 0, False
    option_spec = CSVTable.option_spec | {"columns": directives.unchanged}

    def run(self):
        """Return the table and the paragraph below it."""
        self.state.document.settings.record_dependencies.add(str(RESULTS))
        tables = json.loads(RESULTS.read_text())
        self.table = tables.get(self.arguments.pop())
        if self.table is None:
            raise self.error(f"only {RESULTS.name} has the tables {sorted(tables)}")
        self.options |= {"header-rows": 1, "class": ["benchmark"]}
        text, messages = self.state.inline_text(origin(self.table), self.lineno)
        below = nodes.paragraph("", "", *text, classes=["benchmark-origin"])
        return [*super().run(), below, *messages]

    def get_csv_data(self):
        """Return the table as lines of CSV, and where they come from."""
        columns = self.options.get("columns")
        columns = columns and [name.strip() for name in columns.split("|")]
        lines = io.StringIO()
        csv.writer(lines).writerows(select(self.table, columns))
        return lines.getvalue().splitlines(), str(RESULTS)


def setup(app):
    """Register the directive."""
    app.add_directive("benchmark-table", BenchmarkTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

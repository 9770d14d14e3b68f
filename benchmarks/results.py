"""Keep the tables of the benchmarks as JSON, with the computer and versions behind them.

Option ``--json FILE`` of the scripts replaces the tables that were run in FILE and leaves
the others as they are. The page of benchmarks is made from ``benchmarks/results.json``.
"""

import json
import os
import platform
import sys
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from threadpoolctl import threadpool_info

from skrbm import _native

PACKAGES = ("skrbm", "numpy", "scipy", "scikit-learn", "torch", "rbms", "dask")
_rows = {}


def add_option(parser):
    """Add option --json to the parser of a script."""
    parser.add_argument("--json", type=Path, help="file to write the tables into")


def record(table, **row):
    """Add a row to a table: names of columns, and text or numbers."""
    _rows.setdefault(table, []).append(row)


def processor():
    """Return the model of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def versions():
    """Return the versions of the installed packages that matter."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def save(path, options=""):
    """Merge the recorded tables into a file.

    Parameters
    ----------
    path : Path
    options : str, default=""
        Options of the script that change its results, as in ``"--quick"``.
    """
    kept = json.loads(path.read_text()) if path.exists() else {}
    blas = [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]
    for table, rows in _rows.items():
        command = f"python benchmarks/{Path(sys.argv[0]).name} --only {table} {options}"
        kept[table] = {
            "command": command.strip(),
            "date": date.today().isoformat(),
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": max(blas, default=1),
            "core": _native.description,
            "versions": versions(),
            "rows": rows,
        }
    path.write_text(json.dumps(kept, indent=1) + "\n")

"""Choice of the compiled core, or of none.

The environment variable SKRBM_COMPILED is read at import: "0" does not use the core, and
"1" makes it an error that there is none.
"""

import contextlib
import importlib
import os

_FOLDER = os.path.dirname(__file__)
_LEVELS = {"": "baseline", "_avx2": "AVX2", "_avx512": "AVX-512"}


def _choose():
    """Return the core, or None, and what to say about it."""
    wanted = os.environ.get("SKRBM_COMPILED", "")
    if wanted == "0":
        return None, "NumPy only, because SKRBM_COMPILED is 0"
    try:
        core = importlib.import_module("skrbm._core")
    except ImportError as error:
        if wanted == "1":
            raise ImportError(
                f"SKRBM_COMPILED is 1, but there is no compiled core in {_FOLDER}: install "
                "a C compiler, and skrbm again. If this is a checkout, start Python from "
                "another folder, or install skrbm with pip's option --editable."
            ) from error
        return None, f"NumPy only, because there is no core in {_FOLDER}: {error}"
    for level in core.levels():  # those that this processor can run, the fastest first
        with contextlib.suppress(ImportError):  # the compiler could not build it
            module = importlib.import_module(f"skrbm._core{level}")
            return module, f"compiled, {_LEVELS[level]}"


core, description = _choose()

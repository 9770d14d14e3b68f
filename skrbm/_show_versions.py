"""Versions and the choice of the compiled core, for bug reports."""

from importlib.metadata import version

import sklearn

from skrbm import _native
from skrbm._compat.openmp import n_threads_allowed


def show_versions() -> None:
    """Print versions and whether the compiled core is used, for bug reports.

    The output of :func:`sklearn.show_versions` comes first. Three lines follow: the version
    of skrbm, the path that training takes, and how many threads the compiled core may use.
    The path is the core and its instruction set, or NumPy only and the reason.

    Examples
    --------
    >>> import skrbm
    >>> skrbm.show_versions()
    <BLANKLINE>
    System:
    ...
    skrbm:
        version: ...
           path: ...
        threads: ...
    """
    sklearn.show_versions()
    print("\nskrbm:")
    print(f"    version: {version('skrbm')}")
    print(f"       path: {_native.description}")
    print(f"    threads: {n_threads_allowed() if _native.core else None}")

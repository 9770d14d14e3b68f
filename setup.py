"""Build the compiled core if there is a C compiler. All else is in pyproject.toml.

The environment variable SKRBM_COMPILED decides: "0" does not build it, and "1" makes a
failure to build it an error. Otherwise the package works without it, but more slowly.
SKRBM_CFLAGS holds further flags of the compiler and the linker, which override these here.
"""

import copy
import glob
import os
import sysconfig

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class ParallelBuild(build_ext):
    """Compiles the extensions at the same time, each in a folder of its own."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or len(levels)

    def build_extension(self, ext):
        command = copy.copy(self)
        command.build_temp = os.path.join(self.build_temp, ext.name)
        build_ext.build_extension(command, ext)


# MSVC has no vector types, so that a compiler must be asked for on Windows.
wanted = os.environ.get("SKRBM_COMPILED", "0" if os.name == "nt" else "")
flags = ["-std=gnu11", "-O3", "-ffp-contract=off", "-fvisibility=hidden"]
flags += ["-Wall", "-Wextra", "-Wno-psabi"]  # no vectors are passed between files
extra = os.environ.get("SKRBM_CFLAGS", "").split()
sources = [f"skrbm/core/{name}.c" for name in ("module", "threads", "float", "double")]
levels = {"_core": []}
if sysconfig.get_platform().endswith(("x86_64", "amd64")):  # of the target, not of the host
    levels["_core_avx2"] = ["-mavx2"]
    levels["_core_avx512"] = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl"]

setup(
    cmdclass={"build_ext": ParallelBuild},
    ext_modules=[
        Extension(
            f"skrbm.{name}",
            sources,
            depends=["setup.py", *glob.glob("skrbm/core/*.h")],
            define_macros=[("MODULE", name)],
            extra_compile_args=flags + level + extra,
            extra_link_args=["-pthread", *extra],
            optional=wanted != "1",
        )
        for name, level in levels.items()
    ]
    if wanted != "0"
    else [],
)

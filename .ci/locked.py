"""Run a command while no other has the lock: python .ci/locked.py LOCK_FILE COMMAND..."""

import subprocess
import sys

try:
    import fcntl
except ImportError:  # on Windows, there is no lock
    fcntl = None

with open(sys.argv[1], "w") as file:
    if fcntl:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another installation in this folder ...", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
    sys.exit(subprocess.call(sys.argv[2:], close_fds=False))  # make has a jobserver

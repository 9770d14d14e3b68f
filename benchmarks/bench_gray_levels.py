"""Ways to train on gray levels of 0 to 255 in a memory map, without a copy in memory.

::

    python benchmarks/bench_gray_levels.py [--data DIR] [--repeat N] [--epochs N]

The images are those of MNIST, in ``mnist.npz`` in DIR or in the folder that the environment
variable SKRBM_DATA names, repeated to make the file larger. Each way runs in a process of
its own: the seconds of processor time include conversions, the memory is the peak of
resident memory minus that before, with pages of the files, and the score is the mean
pseudo-log-likelihood of 2000 test images.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from skrbm import BernoulliRBMEstimator

CHUNK = 10_000


def chunks(X):
    return [slice(start, start + CHUNK) for start in range(0, len(X), CHUNK)]


def make(n_epochs):
    return BernoulliRBMEstimator(64, batch_size=100, n_iter=n_epochs, random_state=0)


def in_memory(path, n_epochs):
    return make(n_epochs).fit(np.load(path) / np.float32(255))


def draws(path, n_epochs):
    """Convert once to a memory map of bool, drawn with the gray levels as probabilities."""
    X, rng = np.load(path, mmap_mode="r"), np.random.default_rng(0)
    out = np.lib.format.open_memmap(f"{path}.new", "w+", bool, X.shape)
    for rows in chunks(X):
        out[rows] = rng.integers(255, size=X[rows].shape, dtype=np.uint8) < X[rows]
    out.flush()
    del out
    return make(n_epochs).fit(np.load(f"{path}.new", mmap_mode="r"))


def stream(path, n_epochs):
    """Pass scaled chunks to partial_fit, at a constant learning rate."""
    X, rbm = np.load(path, mmap_mode="r"), make(n_epochs)
    for _ in range(n_epochs):
        for rows in chunks(X):
            rbm.partial_fit(X[rows] / np.float32(255))
    return rbm


WAYS = {way.__name__: way for way in (in_memory, draws, stream)}


def memory(name):
    """Return a value of this process in MB, from Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return int(status[name].split()[0]) / 1024


def run(way, path, n_epochs, test):
    """Print the result of one way."""
    before, start = memory("VmRSS"), time.process_time()
    rbm = WAYS[way](path, n_epochs)
    seconds, peak = time.process_time() - start, memory("VmHWM")
    score = rbm.score(np.load(test))
    print(f"{way:12s}{seconds:10.0f}{peak - before:10.0f}{score:10.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("SKRBM_DATA"))
    parser.add_argument("--repeat", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("pass --data, or set SKRBM_DATA")
    with tempfile.TemporaryDirectory() as folder:
        path, test = (os.path.join(folder, name) for name in ("X.npy", "test.npy"))
        with np.load(Path(arguments.data) / "mnist.npz") as archive:
            images, others = (archive[f"X_{part}"] for part in ("train", "test"))
        images, others = (x.reshape(len(x), -1) for x in (images, others))
        np.save(path, np.tile(images, (arguments.repeat, 1)))
        np.save(test, others[:2000] / np.float32(255))
        del images, others
        context = multiprocessing.get_context("fork")  # imports nothing again
        print(f"file of {os.path.getsize(path) / 2**20:.0f} MB, {arguments.epochs} epochs")
        print(f"{'':12s}{'seconds':>10s}{'MB':>10s}{'score':>10s}")
        for way in WAYS:
            process = context.Process(target=run, args=(way, path, arguments.epochs, test))
            process.start()
            process.join()


if __name__ == "__main__":
    main()

"""Peak memory of three ways to train on gray levels (benchmarks/bench_gray_levels.py)."""

import matplotlib.pyplot as plt

ways = {
    "fit on a scaled copy": 899,
    "fit on a file of drawn bits": 376,
    "partial_fit on chunks": 217,
}

plt.rcParams["font.size"] = 16
figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
bars = ax.barh(list(ways), list(ways.values()), color=["0.7", "C0", "C0"])
ax.bar_label(bars, fmt="%d MB", padding=5)
ax.axvline(179, color="black", linestyle="--")
ax.text(190, -0.7, "size of the file: 179 MB", va="center", fontsize=15)
ax.set(xlim=(0, 1050), ylim=(2.5, -0.95), xticks=[])
figure.suptitle("Chunks and bits need a fraction of the memory")
ax.spines[["top", "right", "bottom"]].set_visible(False)
plt.show()

"""Test log-likelihood against the number of shards, from the table of docs/shards.rst."""

import matplotlib.pyplot as plt

shards = [1, 2, 4, 8, 16, 32]
forward = [-86.7, -87.0, -87.5, -88.3, -89.8, -94.4]
reverse = [-87.0, -87.2, -87.6, -88.3, -89.7, -94.4]
means = [(a + b) / 2 for a, b in zip(forward, reverse, strict=True)]
one_process = (-86.7 - 86.8) / 2

plt.rcParams["font.size"] = 16
figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
ax.axhline(one_process, color="black", linestyle="--")
ax.text(32, one_process + 0.25, "one process", ha="right")
ax.plot(shards, means, "o-", linewidth=2.5, markersize=8)
for n, mean in zip(shards[1:], means[1:], strict=True):
    loss = one_process - mean
    ax.annotate(f"-{loss:.1f}", (n, mean), (0, -22), textcoords="offset points", ha="right")
ax.set_xscale("log", base=2)
ax.set_xticks(shards, [str(n) for n in shards])
ax.set(xlabel="shards", ylabel="test nats a row", ylim=(-96.5, -85.2))
ax.set_title("Up to four shards cost less than a nat")
ax.spines[["top", "right"]].set_visible(False)
plt.show()

"""The made-up table of the pictures of tables and gaps."""

import numpy as np
import pandas as pd


def make_table(rng, n_rows):
    """Return where people live, how they go to work, how long it takes, if they like it."""
    place = rng.integers(3, size=n_rows)
    usual = np.array(["car", "train", "bike"])[place]
    minutes = rng.normal(45 - 10 * place, 5)
    liked = minutes + rng.normal(0, 7, n_rows)
    return pd.DataFrame(
        {
            "home": np.array(["country", "suburb", "town"])[place],
            "garden": rng.random(n_rows) > 0.1 + 0.8 * (place == 2),
            "commute": np.where(rng.random(n_rows) < 0.1, "car", usual),
            "minutes": minutes,
            "liked": pd.cut(liked, [-99, 28, 38, 99], labels=["yes", "so-so", "no"]),
        }
    )

# %% [markdown]
# Wrong masks on purpose, on plain numpy arrays: no data set, no command line. Run it as a script, or cell by cell.

# %%
from __future__ import annotations

import numpy as np

from maskmend.metrics import dice, overlap
from maskmend.noise import NOISES, corrupt, make

# %% A label map: an organ (1) with a lesion (2) in it. Any integer array (H, W) or (D, H, W) will do.
y, x = np.mgrid[:128, :128]
label = np.zeros((128, 128), np.uint8)
label[(y - 64) ** 2 / 1.4 + (x - 64) ** 2 < 40**2] = 1
label[(y - 55) ** 2 + (x - 72) ** 2 < 14**2] = 2

# %% Every noise, with its default parameters. The same generator gives the same masks.
for name in NOISES:
    worse = corrupt(label, make(name), np.random.default_rng(0), spacing_mm=(1.0, 1.0))
    left = overlap(worse, label, [1, 2])
    print(f"{name:14} organ {dice(left[1]):.3f}  lesion {dice(left[2]):.3f}")

# %% One noise, stronger and stronger.
for steps in (50, 100, 200):
    noise = make("markov", {"steps": steps, "preference": 0.2, "variance": 0.05})
    found = [overlap(corrupt(label, noise, np.random.default_rng(seed)), label, [1])[1] for seed in range(5)]
    print(f"markov, {steps} steps: organ {np.mean([dice(count) for count in found]):.3f}")

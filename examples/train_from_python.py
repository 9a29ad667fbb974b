"""From made-up scans with wrong masks to a score, without the command line.

    python examples/train_from_python.py OUT [KEY=VALUE ...]

OUT is a new folder. The words are settings, as behind `maskmend train`; fewer epochs make it quicker.
"""

from __future__ import annotations

import sys
from pathlib import Path

from maskmend import evaluate, predict, simulate, train
from maskmend.data.phantom import write_phantom


def main(out: Path, words: list[str]) -> None:
    clean, noisy = out / "clean", out / "noisy"
    write_phantom(clean, train=40, test=10)
    given = simulate(clean, noisy, noise="dilate_erode", parameters={"low": 3, "high": 5}, seed=1)
    print(f"the masks to train on: Dice {given.dice()[0]:.3f}")

    settings = ["fold=all", "data.size=[64,64]", "train.epochs=20", "train.threads=1", "optim.lr=0.02", *words]
    for method in ("supervised", "co_teaching"):
        run, predictions = out / "runs" / method, out / "predictions" / method
        train(noisy, run, method=method, overrides=settings)
        predict(run, clean / "imagesTs", predictions, checkpoint="last")
        print(method, evaluate(predictions, clean / "labelsTs").table(), sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

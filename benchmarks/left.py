"""Is the number of wrong masks left, which a review foretells, within its interval on audits whose truth is known?

    python benchmarks/left.py OUT    # after audit.py IMAGES OUT run

Of each cell: cases are seen in the order of doubt, all that may be redrawn or are worth a look first, and a tenth of as
many of the others among them or none; after 10 to 80 % of all, whether the 90 % interval holds the truth.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from audit_scores import SCORES, by, load

from maskmend.functional import doubt
from maskmend.review.effort import FEWEST, _foretold

SHARES = np.arange(0.1, 0.85, 0.1)
BLIND = 0.1


def order(place: np.ndarray, fine: np.ndarray, blind: float, seed: int) -> np.ndarray:
    """The cases (N,) in the order in which they are seen. place: from the most doubtful."""
    rng, doubted, others = np.random.default_rng(seed), place[~fine[place]], place[fine[place]]
    mixed = rng.permutation(others)[: round(blind * len(doubted))]
    seen = np.insert(doubted, np.sort(rng.integers(0, len(doubted) + 1, len(mixed))), mixed)
    return np.concatenate((seen, others[~np.isin(others, mixed)]))


def main(out: Path) -> None:
    told: dict[str, list[bool]] = {}
    for path in sorted(out.glob("*/*.npz")):
        cell = load(path.parent.name, *_parts(path), path)
        place = np.argsort(-SCORES["doubt (the default)"](cell), kind="stable")
        fine = (by(doubt.regret)(cell) <= doubt.CUT) & (cell.edges == 0)
        rank = np.argsort(place)
        for blind, seed in ((0.0, 0), (BLIND, 0), (BLIND, 1)):
            cases = order(place, fine, blind, seed)
            for share in SHARES:
                seen = cases[: max(FEWEST, round(share * len(cases)))]
                left = _foretold(len(cases), tuple((int(rank[case]), bool(cell.wrong[case])) for case in seen))
                truth = cell.wrong.sum() - cell.wrong[seen].sum()
                told.setdefault(f"{path.parent.name} {path.stem}", []).append(left.low <= truth <= left.high)
    each = np.array([np.mean(held) for held in told.values()])
    drawn = each[np.random.default_rng(0).integers(0, len(each), (4000, len(each)))].mean(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    print("\n".join(f"{name}: {np.mean(held):.2f}" for name, held in told.items()))
    print(f"{len(each)} audits: {each.mean():.3f} ({low:.3f} to {high:.3f} over audits)")


def _parts(path: Path) -> tuple[str, int]:
    noise, seed = path.stem.rsplit("-", 1)
    return noise, int(seed)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

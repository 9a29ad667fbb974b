"""Why a small-loss method wins or loses: are the pixels it drops the ones whose label is wrong?

    python benchmarks/selection.py IMAGES OUT       # after benchmarks/evidence.py IMAGES OUT run

For every finished GSD-Net run of the evidence with seed 0, with its last weights and without augmentation: of the tau
share of training pixels with the largest loss (Eq. 5), how many are labelled wrongly (precision); and what SGLR's votes
make of the labels (Dice with the truth, before and after, Eq. 14).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from evidence import settings_of
from evidence_studies import STUDIES, Wrong
from mended import dice

from maskmend.data.cache import Cache
from maskmend.data.dataset import open_dataset
from maskmend.data.plan import make_plan
from maskmend.data.trainset import CaseSet
from maskmend.engine import checkpoint
from maskmend.functional.losses import ce, sym_kl
from maskmend.functional.select import small_loss
from maskmend.methods.gsd_net import GSDNet
from maskmend.runs.folder import build_method
from maskmend.types import IGNORE


@torch.no_grad()
def measure(run: Path, study_name: str, folder: Path, noise: str) -> str:
    """One row of the table."""
    study, name, seed = STUDIES[study_name], *run.name.rsplit("-", 1)
    done = json.loads((run / "done.json").read_text())
    wrong = Wrong(done["tau"], tuple(done.get("by_class", ())))
    config = settings_of(name, study, noise, wrong, int(seed))
    given, true = (open_dataset(folder / place) for place in (noise, "truth"))
    plan = make_plan(true, true.train, config.data)
    method = build_method(config, plan)
    assert isinstance(method, GSDNet)
    method.load_state_dict(checkpoint.load(run / "last.ckpt", "gsd_net")["method"])
    method.eval()
    noisy, clean = (CaseSet(d.train, d, plan, Cache(folder / "cache"), method.maps) for d in (given, true))
    parts = []
    for batch, truth in zip(noisy.scan(16), clean.scan(16), strict=True):
        z1, z2 = method.net1(batch.image), method.net2(batch.image)
        loss = ce(z1, batch.label) + ce(z2, batch.label) + method.config.agreement * sym_kl(z1, z2)
        kept = small_loss(loss, 1 - wrong.share, batch.label != IGNORE)
        refined = method.refined(z1, z2, batch, kept, torch.tensor(0.5))
        parts.append((batch.label, truth.label, kept, refined))
    label, truth, kept, refined = (torch.cat(part) for part in zip(*parts, strict=True))
    precision = float((label != truth)[~kept].float().mean())
    mended = f"{dice(label, truth):.3f} → {dice(refined, truth):.3f}"
    return f"| {study_name} | {noise} | {run.name} | {wrong.share:.3f} | {100 * precision:.0f} % | {mended} |"


def main(out: Path) -> None:
    print("| data | noise | run | τ | dropped pixels that are wrong | training labels, Dice before → after |")
    print("|---|---|---|---|---|---|")
    for name in STUDIES:
        for run in sorted((out / name / "runs").glob("*/gsd*-0")):
            if (run / "done.json").exists():
                print(measure(run, name, out / name, run.parent.name), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[2]))

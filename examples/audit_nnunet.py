"""Which masks do nnU-Net's own folds doubt? Each judges the cases that it did not learn from.

    python examples/audit_nnunet.py DATASET TRAINING OUT

DATASET is the nnU-Net data set, TRAINING its folder TRAINER__PLANS__CONFIG in nnUNet_results (trained with --npz), OUT
a new folder for the audit. Prints the ten most doubtful cases with their surest findings.
"""

from __future__ import annotations

import sys
from pathlib import Path

from maskmend import audit


def main(dataset: Path, training: Path, out: Path) -> None:
    summary = audit(dataset, out, nnunet=training)
    print("\n".join(summary.audit.about.sentences))
    for row in summary.audit.rows[:10]:
        doubt = "not judged" if row.doubt is None else f"doubt {row.doubt:.2f}"
        print(f"{row.rank:3d}. {row.case}: {doubt}, {row.hint}")
        findings = sorted(summary.audit.findings(row.case), key=lambda finding: -finding.confidence)
        for finding in findings[:3]:
            print(f"     {finding.confidence:.0%} sure: {finding.text}")
    print(f"look: {summary.report}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

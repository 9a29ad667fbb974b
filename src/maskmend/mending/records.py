"""What is left of who changed what: mend.json, and provenance/CASE.json in the words of BIDS."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import __version__
from ..audit.store import Audit, sha256
from ..data.formats import write_json
from .accept import Mended
from .change import Change


def record(each: Mended, change: Change | None) -> dict[str, Any]:
    """What mend.json says of a case that changed, or that a person spoke of."""
    said: dict[str, Any] = {
        "by": change.by if change else None,
        "clean": each.clean,
        "reviewers": dict(each.people),
        "verdicts": dict(each.verdicts),
        "accepted": list(each.accepted),
        "taken": list(each.taken),
    }
    if change is None:
        return said
    unit = change.voxel_ml
    classes = {
        name: {
            "voxels_added": moved.added,
            "voxels_removed": moved.removed,
            "ml_added": None if unit is None else round(moved.added * unit, 6),
            "ml_removed": None if unit is None else round(moved.removed * unit, 6),
            "dice_given_mended": None if math.isnan(moved.dice) else round(moved.dice, 6),
        }
        for name, moved in change.classes.items()
    }
    return said | {"voxels_changed": change.voxels, "voxels_ignored": change.ignored, "classes": classes}


def write_provenance(audit: Audit, each: Mended, root: Path, label: Path, method: str) -> None:
    """Where a changed label comes from, in BIDS' words. Apart from the labels, for a JSON file beside one is a TIFF's
    spacing to nnU-Net."""
    people = each.people if each.by == "reviewed" else {}
    made = [{"Name": "MaskMend", "Version": __version__, "Method": method}]
    made += [{"Name": "Manual", "Author": name, "Date": at} for name, at in people.items()]
    content = {
        "GeneratedBy": made,
        "Sources": [f"labelsTr_given/{label.name}"],
        "Judges": [judge.model_dump(mode="json") for judge in audit.about.judges],
        "sha256": {"before": audit.about.files[each.case][0], "after": sha256(label)},
        "Date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    (root / "provenance").mkdir(exist_ok=True)
    write_json(root / "provenance" / f"{each.case}.json", content)

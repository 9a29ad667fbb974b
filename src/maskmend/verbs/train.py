"""``maskmend train``: from a data set whose masks are partly wrong to a model that is not misled."""

from __future__ import annotations

from ..runs.train import RunSummary, train

__all__ = ["RunSummary", "train"]

"""``maskmend train``: from a data set whose masks are partly wrong to a model that is not misled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args, get_origin

from .. import config as settings
from ..audit.store import Audit, open_audit
from ..audit.tau import spread
from ..config import RunConfig
from ..errors import InputError
from ..runs import train as runs
from ..runs.train import RunSummary
from ..words import start_words

__all__ = ["RunSummary", "Taken", "begun", "tau_of", "train"]


def train(
    dataset: Path,
    output: Path,
    method: str | None = None,
    config: Path | None = None,
    overrides: Sequence[str] = (),
    *,
    audit: Path | None = None,
    start: Path | None = None,
    resume: bool = False,
    device: str = "auto",
    fast_dev_run: bool = False,
    check: bool = False,
) -> RunSummary:
    """Train one method on an nnU-Net raw data set.

    Args:
        dataset: folder with dataset.json, imagesTr, labelsTr.
        output: the run folder to make: config.yaml, plan.json, events.jsonl, last.ckpt, best.ckpt, cases.csv, refined/.
        method: a name that ``maskmend methods`` lists, or an importable module; by default the config's, or
            ``maskmend.methods.DEFAULT``.
        config: YAML file of settings.
        overrides: words such as "method.tau=0.06", stronger than the file.
        audit: an audit of ``dataset``, which tells a method that has one the share of wrong pixels, ``method.tau``.
        start: weights that the networks start from, as far as they fit: a run folder (the networks it predicts with, of
            its best checkpoint), best.ckpt or last.ckpt of one, or a state dict as .pt, .pth or .safetensors, of the
            whole network or its encoder. It is the setting ``start``.
        resume: continue a stopped run in ``output``, with its own settings.
        device: auto, cpu or cuda.
        fast_dev_run: two steps and a validation of two cases, to see that everything fits.
        check: read every file again, also those that look unchanged since they were read for an earlier run.

    Raises:
        InputError: anything about the data, the audit or the settings that would spoil the run, before any training
            starts; or another process is at work in ``output``.
    """
    words = [*overrides, *start_words(start)]
    if audit is not None:
        words.append(tau_of(audit, dataset, method, config or begun(output, resume), overrides).word)
    asked = {"resume": resume, "fast_dev_run": fast_dev_run, "check": check}
    return runs.train(dataset, output, method, config, words, device=device, **asked)


def begun(output: Path, resume: bool) -> Path | None:
    """The settings of the run in ``output``, if it goes on."""
    path = Path(output) / "config.yaml"
    return path if resume and path.exists() else None


@dataclass(frozen=True)
class Taken:
    """What an audit told a method: of each class, or of all pixels. said: as a person reads it."""

    audit: Path
    tau: float | tuple[float, ...]
    said: str

    @property
    def word(self) -> str:
        """The setting to train with."""
        return f"method.tau={list(self.tau) if isinstance(self.tau, tuple) else self.tau}"

    def table(self) -> str:
        return f"{self.word}, from {self.audit}: {self.said}"


def tau_of(
    audit: Path,
    dataset: Path,
    method: str | None = None,
    config: Path | None = None,
    overrides: Sequence[str] = (),
) -> Taken:
    """The share of wrong pixels that an audit found, in the sense of the method: of all pixels; or, where it ranks each
    given class by itself and takes a share of each, of the pixels given each class, the background's first.

    Raises:
        InputError: the audit is of other data or does not know, the method has no tau, or one is given.
    """
    about = _checked(Path(audit), Path(dataset)).about
    run = settings.load_config(config, method, overrides)
    if "tau" not in run.method:
        raise InputError(
            f"method {run.method_name!r} has no tau for an audit to tell; leave --audit out, or name a method with "
            "one, such as --method gsd_net."
        )
    if given := next((word for word in overrides if word.partition("=")[0].strip() == "method.tau"), None):
        raise InputError(f"{given} is given, and {audit} tells a tau as well; leave one out.")
    if about.tau_image is None:
        raise InputError(f"{audit} holds no share of wrong pixels; make it again with --cross 2, or give method.tau.")
    by_class = _by_class(run)
    shares = [about.tau[name] for name in about.labels] if by_class else [about.tau_image]
    if why := next((share.unknown for share in shares if share.unknown), ""):
        raise InputError(
            f"{audit} does not know how much is wrong ({why}); review some masks and audit with --again, or give "
            "method.tau."
        )
    values = tuple(min(round(share.value, 4), 0.99) for share in shares)
    if not by_class:
        return Taken(audit, values[0], f"{spread(shares[0])} of all pixels are believed wrong")
    each = ", ".join(f"{spread(share)} of {name}" for name, share in zip(about.labels, shares, strict=True))
    return Taken(audit, values, f"{each} are believed wrong")


def _by_class(run: RunConfig) -> bool:
    """Whether the method drops a share of its own from each given class."""
    _, parameters = run.method_parts()
    field = type(parameters).model_fields["tau"]
    takes_many = any(get_origin(kind) is tuple for kind in get_args(field.annotation))
    return takes_many and getattr(parameters, "ranking", None) == "class"


def _checked(audit: Path, dataset: Path) -> Audit:
    """The audit, if it is of this data set as it is now."""
    found, root = open_audit(audit), dataset.resolve()
    if Path(found.about.dataset) != root:
        raise InputError(
            f"{audit} is an audit of {found.about.dataset}, not of {root}; name an audit of this data set."
        )
    for case in found.cases:
        found.check_unchanged(case)
    return found

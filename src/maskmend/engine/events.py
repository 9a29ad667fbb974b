"""What happened in a run, one JSON object a line; TensorBoard and MLflow when asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from ..errors import InputError
from ..types import Config

GIVEN = "the given masks"
"""What a validation compares with. They may be wrong too: it ranks models, and does not say how good one is."""


class EventsConfig(Config):
    tensorboard: bool = False
    mlflow: bool = False


def check_trackers(config: EventsConfig) -> None:
    """Raise InputError for a tracker that is asked for and not installed."""
    database = () if os.environ.get("MLFLOW_TRACKING_URI") else ("sqlalchemy", "alembic")  # not with mlflow-skinny
    for name, modules in (("tensorboard", ("tensorboard",)), ("mlflow", ("mlflow", *database))):
        missing = [module for module in modules if getattr(config, name) and find_spec(module) is None]
        if missing:
            raise InputError(
                f"events.{name}=true needs {' and '.join(missing)}, not installed here; install maskmend[{name}]"
                + (", or name a server in MLFLOW_TRACKING_URI." if missing[0] in database else ".")
            )


class Sink(Protocol):
    def log(self, values: dict[str, float], step: int) -> None: ...

    def close(self) -> None: ...


class Events:
    """``events.jsonl`` of a run folder, and the trackers that were asked for."""

    def __init__(
        self, folder: Path, config: EventsConfig, since: int = 0, settings: dict[str, Any] | None = None
    ) -> None:
        """Continue after optimisation step ``since``: what a killed run wrote beyond it is taken back."""
        self.path = folder / "events.jsonl"
        kept = [line for line, event in _events(self.path) if event["step"] <= since] if since else []
        part = self.path.with_suffix(".part")
        part.write_bytes(b"".join(kept))
        part.replace(self.path)
        self.file = self.path.open("a", encoding="utf-8")
        self.sinks: list[Sink] = []
        if config.tensorboard:
            self.sinks.append(_TensorBoard(folder))
        if config.mlflow:
            self.sinks.append(_MLflow(folder, settings or {}))

    def log(self, kind: str, step: int, values: dict[str, float], **more: Any) -> None:
        """Write one event now; ``step`` counts finished optimisation steps."""
        self.file.write(json.dumps({"event": kind, "step": step, **more, **values}) + "\n")
        self.file.flush()
        for sink in self.sinks:
            sink.log({f"{kind}/{name}": value for name, value in values.items()}, step)

    def close(self) -> None:
        self.file.close()
        for sink in self.sinks:
            sink.close()


def read_events(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The events of one kind in a run folder."""
    return [event for _, event in _events(folder / "events.jsonl") if event["event"] == kind]


def _events(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The lines that are events, and the events; what a kill or an editor left of others is passed over."""
    if not path.is_file():
        return
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            event = json.loads(line)
            whole = line.endswith(b"\n") and isinstance(event["step"], int) and isinstance(event["event"], str)
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        if whole:
            yield line, event


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(folder / "tensorboard")

    def log(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class _MLflow:
    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        from mlflow import MlflowClient

        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder.parent / 'mlflow.db').resolve()}"
        self.client = MlflowClient(tracking_uri=uri)
        experiment = self.client.get_experiment_by_name("maskmend")
        number = experiment.experiment_id if experiment else self.client.create_experiment("maskmend")
        self.run = self.client.create_run(number, run_name=folder.name).info.run_id
        for name, value in settings.items():
            self.client.log_param(self.run, name, str(value)[:500])

    def log(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.client.log_metric(self.run, name, value, step=step)

    def close(self) -> None:
        self.client.set_terminated(self.run)

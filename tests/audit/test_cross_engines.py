"""The networks of a cross-fit as tasks: wherever they run, the audit is the same, and one that was killed goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maskmend import audit
from maskmend.audit.cross import Training
from maskmend.data.phantom import write_phantom
from maskmend.engine import checkpoint
from maskmend.errors import InputError

WORDS = ["train.epochs=2", "train.steps=2", "train.batch={any: 2}", "train.precision=fp32", "train.threads=1"]
WORDS += ["train.save_every=1", "network.width=4"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom(tmp_path_factory.mktemp("phantom") / "D", 2, train=6, test=0, size=32).root


def audited(dataset: Path, out: Path, **where: Any) -> bytes:
    """The table of an audit by two networks."""
    audit(dataset, out, cross=2, overrides=WORDS, device="cpu", checks=False, **where)
    return (out / "audit.csv").read_bytes()


@pytest.fixture(scope="module")
def here(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return audited(dataset, tmp_path_factory.mktemp("here") / "audit", jobs=0)


def test_a_network_that_was_stopped_goes_on(
    dataset: Path, here: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two trainings one fails after its first epoch; the other is done and kept, and the same command ends both.
    What will be trained is said before, as long as there is anything."""
    told = "2 networks are trained now, to judge the masks, 2 epochs each: minutes for small pictures"
    save, began = checkpoint.save, list[str]()

    def full(folder: Path, *rest: Any, **more: Any) -> None:
        save(folder, *rest, **more)
        if "network_1" in str(folder):
            raise InputError("the disk is full; free some.")

    def run(task: Training, run: Any = Training.run) -> None:
        began.append(f"{task.name}, {'begun' if (task.folder / 'last.ckpt').exists() else 'new'}")
        run(task)

    monkeypatch.setattr(Training, "run", run)
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", full)
        with pytest.raises(InputError, match=r"network_1: the disk is full; free some\.$"):
            audited(dataset, tmp_path / "audit", jobs=0)
    assert not (tmp_path / "audit/audit.csv").exists()
    assert capsys.readouterr().err.startswith(told)
    assert audited(dataset, tmp_path / "audit", jobs=0) == here
    assert told in capsys.readouterr().err
    assert audited(dataset, tmp_path / "audit", jobs=0) == here
    assert told not in capsys.readouterr().err, "nothing is left to train"
    assert began == ["network 0, new", "network 1, new", *["network 0, begun", "network 1, begun"] * 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "where"),
    [("local", {"jobs": 2}), ("slurm", {"options": {"cluster": "local"}}), ("ray", {"jobs": 1})],
)
def test_an_audit_is_the_same_wherever_its_networks_learn(
    engine: str, where: dict[str, Any], dataset: Path, here: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through submitit's executor for this machine, SLURM's has the same face; and on a Ray of this machine."""
    if package := {"slurm": "submitit", "ray": "ray"}.get(engine):
        pytest.importorskip(package)
    monkeypatch.setattr("maskmend.runs.execute.POLL_S", 0.2)
    assert audited(dataset, tmp_path / "audit", engine=engine, **where) == here
    assert len(list(tmp_path.glob("audit/networks/*/network_*/log.txt"))) == 2

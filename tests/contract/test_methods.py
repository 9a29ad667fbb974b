"""What every method must do. A new file in ``methods/`` is picked up by itself."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from tests.toy import SIZE, differ, states_equal, toy_fit, toy_method, toy_set, write_toy

from maskmend import methods
from maskmend.data.formats import read_label
from maskmend.data.trainset import CaseSet
from maskmend.engine.fit import Fit
from maskmend.engine.update import OptimConfig
from maskmend.methods import Method
from maskmend.types import IGNORE, Batch, Progress

NAMES = methods.names()
SCANNING = [name for name in NAMES if methods.find(name)[0].begin_epoch is not Method.begin_epoch]
"""Those that may look at every case before an epoch."""
EVERYWHERE = [(2, 2), (2, 4), (3, 2), (3, 4)]
"""Dimensions and classes."""
CROSSWISE = [(2, 4), (3, 2)]
"""Enough to see each of them once, where a test takes long."""


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], Path]:
    """One toy data set for each (dims, classes)."""
    root = tmp_path_factory.mktemp("toys")
    return {key: write_toy(root / f"{key[0]}d_{key[1]}" / "data", *key) for key in EVERYWHERE}


@pytest.fixture
def unsaved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without checkpoints, which take a quarter of a run this small: for tests that read none."""
    monkeypatch.setattr(Fit, "_save", lambda fit, path=None: None)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
@pytest.mark.usefixtures("unsaved")
@pytest.mark.parametrize(("dims", "classes"), CROSSWISE)
def test_it_learns(name: str, dims: int, classes: int, toys: dict[tuple[int, int], Path], tmp_path: Path) -> None:
    fit = toy_fit(toys[dims, classes], tmp_path, name, epochs={2: 26, 3: 15}[dims], norm="instance")
    fit.run()
    fit.method.eval()
    found = []
    for i, case in enumerate(fit.data.names):
        truth = torch.from_numpy(read_label(toys[dims, classes] / "truth" / f"{case}{_ending(dims)}").array.astype(int))
        image = fit.data.whole(i)[0][None]
        with torch.no_grad():
            guess = fit.method.predict(image).argmax(1)[0]
        found += [
            2 * ((guess == k) & (truth == k)).sum() / ((guess == k).sum() + (truth == k).sum())
            for k in range(1, classes)
        ]
    assert torch.stack(found).mean() > 0.7


@pytest.mark.usefixtures("unsaved")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dims", "classes"), EVERYWHERE)
def test_it_takes_a_step(name: str, dims: int, classes: int, toys: dict[tuple[int, int], Path], tmp_path: Path) -> None:
    """Something is learnt from, and every network moves."""
    fit = toy_fit(toys[dims, classes], tmp_path, name, epochs=2, stop_after=5)
    before = {key: value.clone() for key, value in fit.method.named_parameters() if value.requires_grad}
    fit.run()
    moved = {
        key.split(".")[0]
        for key, value in fit.method.named_parameters()
        if key in before and not torch.equal(value, before[key])
    }
    assert moved == {key.split(".")[0] for key in before}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stop", [4, 6], ids=["between_steps", "end_of_epoch"])
def test_it_resumes_bit_for_bit(name: str, stop: int, toys: dict[tuple[int, int], Path], tmp_path: Path) -> None:
    straight = toy_fit(toys[2, 2], tmp_path / "straight", name)
    straight.run()
    toy_fit(toys[2, 2], tmp_path / "resumed", name, stop_after=stop).run()
    resumed = toy_fit(toys[2, 2], tmp_path / "resumed", name, resume=True)
    resumed.run()
    assert states_equal(straight.method, resumed.method)
    assert _lines(tmp_path / "straight") == _lines(tmp_path / "resumed")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dims", "classes"), EVERYWHERE)
def test_it_predicts_probabilities(
    name: str, dims: int, classes: int, toys: dict[tuple[int, int], Path], tmp_path: Path
) -> None:
    method = toy_method(name, toy_set(toys[dims, classes], tmp_path)[1]).eval()
    prob = method.predict(torch.randn(2, 1, *SIZE[dims]))
    assert prob.shape == (2, classes, *SIZE[dims])
    assert prob.min() >= 0
    torch.testing.assert_close(prob.sum(1), torch.ones(2, *SIZE[dims]))


class OnHost(torch.Tensor):
    """What lies in the memory of the host, and whatever is computed of it there; ``Batch.to`` ends that."""


def on_host(batch: Batch) -> Batch:
    return batch.each(lambda tensor: tensor.as_subclass(OnHost))


@pytest.mark.usefixtures("unsaved")
@pytest.mark.parametrize("name", SCANNING)
def test_what_it_scans_is_moved_to_the_device(
    name: str, toys: dict[tuple[int, int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU: no network may see an image of ``scan`` that was never moved. One case has no label."""
    shutil.copytree(toys[2, 2], tmp_path / "data")
    (tmp_path / "data/labelsTr/case11.png").unlink()
    rows = tmp_path / "data/supervision.csv"
    rows.write_text(rows.read_text().replace("case11,noisy", "case11,unlabeled"))
    scan, read, seen = CaseSet.scan, Batch.to, []
    monkeypatch.setattr(CaseSet, "scan", lambda *args, **how: map(on_host, scan(*args, **how)))
    monkeypatch.setattr(
        Batch, "to", lambda batch, device: read(batch, device).each(lambda t: t.as_subclass(torch.Tensor))
    )
    watch = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, args: seen.extend(type(module) for arg in args if isinstance(arg, OnHost))
    )
    try:
        toy_fit(tmp_path / "data", tmp_path / "run", name, epochs=3).run()
    finally:
        watch.remove()
    assert not seen


@pytest.mark.usefixtures("unsaved")
@pytest.mark.parametrize("name", NAMES)
def test_it_leaves_given_labels_alone(name: str, toys: dict[tuple[int, int], Path], tmp_path: Path) -> None:
    files = sorted((toys[2, 2] / "labelsTr").iterdir())
    before = [hashlib.sha256(file.read_bytes()).digest() for file in files]
    fit = toy_fit(toys[2, 2], tmp_path, name, epochs=2)
    given = [fit.data.whole(i)[1].clone() for i in range(len(fit.data))]
    fit.run()
    assert before == [hashlib.sha256(file.read_bytes()).digest() for file in files]
    assert all((fit.data.whole(i)[1] == label).all() for i, label in enumerate(given))


@pytest.mark.parametrize("name", NAMES)
def test_pixels_nobody_annotated_teach_nothing_false(
    name: str, toys: dict[tuple[int, int], Path], tmp_path: Path
) -> None:
    """With half of each label unknown the losses stay finite, and with all of it unknown too."""
    fit = toy_fit(toys[2, 2], tmp_path, name, epochs=1)
    index = fit.data.schedule(0, 0, fit.train.batch, None)[0]
    batch = fit.data.load(index, list(range(len(index))))
    for hidden in (slice(0, 16), slice(0, 32)):
        label = batch.label.clone()
        label[:, hidden] = IGNORE
        partly = Batch(batch.image, label, batch.trust, batch.index, batch.maps)
        assert all(torch.isfinite(loss) for loss in _losses(fit.method, partly))


def _losses(method: Method, batch: Batch) -> list[torch.Tensor]:
    """What one late step would learn from."""
    seen: list[torch.Tensor] = []
    method.step(batch, Progress(40, 100, 0, 1), lambda loss, group="main": seen.append(loss))
    assert seen
    return seen


def _ending(dims: int) -> str:
    return ".png" if dims == 2 else ".nii.gz"


def _lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _one_rank(rank: int, size: int, root: Path, folder: Path, name: str, options: dict[str, object], port: int) -> None:
    import torch.distributed as dist

    from maskmend.engine.world import launch

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), "NODE_RANK": "0", "GROUP_RANK": "0"}
    torch.set_num_threads(1)
    try:
        fit = toy_fit(root, folder, name, epochs=2, world=launch("cpu"), **options)
        fit.run()
        torch.save(fit.method.state_dict(), folder / f"rank{rank}.pt")
    finally:
        dist.destroy_process_group()  # where one fails, the others end as well


class Ranks:
    """Two processes that serve one run after another: to start one takes seconds."""

    def __init__(self) -> None:
        self.pools = [ProcessPoolExecutor(1, mp_context=get_context("spawn")) for _ in range(2)]

    def run(self, root: Path, folder: Path, name: str, **options: object) -> list[dict[str, torch.Tensor]]:
        folder.mkdir(parents=True, exist_ok=True)
        what = (len(self.pools), root, folder, name, options, _free_port())
        for ended in [pool.submit(_one_rank, rank, *what) for rank, pool in enumerate(self.pools)]:
            ended.result(timeout=300)
        return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(len(self.pools))]


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    found = Ranks()
    yield found
    for pool in found.pools:
        pool.shutdown(cancel_futures=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_ranks_agree(name: str, toys: dict[tuple[int, int], Path], tmp_path: Path, ranks: Ranks) -> None:
    toy_fit(toys[2, 2], tmp_path / "warm", name, epochs=1).run()  # fills the cache
    one, two = ranks.run(toys[2, 2], tmp_path, name)
    assert not differ(one, two)


@pytest.mark.slow
def test_two_ranks_equal_one_process_of_twice_the_batch(
    toys: dict[tuple[int, int], Path], tmp_path: Path, ranks: Ranks
) -> None:
    plain = {"norm": "instance", "optim": OptimConfig(lr=0.05)}
    two = ranks.run(toys[2, 2], tmp_path / "two", "supervised", batch={"any": 2}, **plain)[0]
    one = toy_fit(toys[2, 2], tmp_path / "one", "supervised", epochs=2, batch={"any": 4}, **plain)
    one.run()
    for key, value in one.method.state_dict().items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-6)

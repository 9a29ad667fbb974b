from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maskmend.data import refined
from maskmend.data.refined import RefinedStore, fixed_point, shares

GIVEN = np.zeros((4, 5), np.int8)


def label(value: int) -> np.ndarray:
    return np.full((4, 5), value, np.int8)


@pytest.fixture
def store(tmp_path: Path) -> RefinedStore:
    return RefinedStore(tmp_path / "refined")


def test_nothing_is_visible_before_the_commit(store: RefinedStore) -> None:
    store.write("a", label(1), GIVEN)
    assert store.read("a") is None
    assert store.commit() == 20
    assert (store.read("a") == 1).all()
    assert store.read("b") is None
    assert (store.folder / "000001" / "a.npy").exists()


def test_a_later_write_replaces_an_earlier_one_and_counts_once(store: RefinedStore) -> None:
    store.write("a", label(1), GIVEN)
    store.write("a", label(0), GIVEN)
    assert store.commit() == 0
    assert (store.read("a") == 0).all()


def test_unwritten_cases_are_inherited(store: RefinedStore) -> None:
    store.write("a.x", label(1), GIVEN)
    store.write("b", label(2), GIVEN)
    store.commit()
    store.write("b", label(3), label(2))
    assert store.commit() == 20
    assert (store.read("a.x") == 1).all()
    assert (store.read("b") == 3).all()


def test_inheriting_copies_where_links_are_impossible(store: RefinedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError("not supported")

    monkeypatch.setattr(refined.os, "link", no_links)
    for name in ("a", "b"):
        store.write(name, label(1), GIVEN)
        store.commit()
    assert (store.read("a") == 1).all()


def test_no_write_is_no_generation(store: RefinedStore) -> None:
    assert store.commit() == 0
    assert store.state_dict() == {"generation": 0}


def test_going_back_and_writing_another_future(store: RefinedStore) -> None:
    for value in (1, 2, 3):
        store.write("a", label(value), GIVEN)
        store.commit()
    store.load_state_dict({"generation": 1})
    assert (store.read("a") == 1).all()
    store.write("a", label(7), GIVEN)
    store.commit()
    assert store.state_dict() == {"generation": 2}
    assert (store.read("a") == 7).all()
    store.load_state_dict({"generation": 0})
    assert store.read("a") is None


def test_a_killed_hook_leaves_nothing_behind(store: RefinedStore) -> None:
    store.write("a", label(1), GIVEN)
    store.write("b", label(1), GIVEN)
    resumed = RefinedStore(store.folder)
    resumed.write("b", label(2), GIVEN)
    resumed.commit()
    assert resumed.read("a") is None
    assert (resumed.read("b") == 2).all()


def test_prune_keeps_what_it_is_told_the_present_and_the_one_before_each(store: RefinedStore) -> None:
    for value in range(1, 5):
        store.write("a", label(value), GIVEN)
        store.commit()
    store.prune({2})
    assert sorted(path.name for path in store.folder.iterdir()) == ["000001", "000002", "000003", "000004"]
    store.prune(set())
    assert sorted(path.name for path in store.folder.iterdir()) == ["000003", "000004"]
    assert (store.read("a") == 4).all()
    assert (store.before("a") == 3).all()


def test_what_has_a_folder_lives_beside_the_labels(store: RefinedStore) -> None:
    """Each is inherited where the other alone is written, in generations that they share; only labels are counted."""
    store.write("a", label(1), GIVEN)
    store.write("target/a", np.full((2, 4, 5), 7, np.uint16))
    assert store.commit() == 20
    store.write("target/a", np.full((2, 4, 5), 8, np.uint16))
    assert store.commit() == 0
    store.write("a", label(2), label(1))
    store.commit()
    assert (store.read("a") == 2).all()
    assert (store.read("target/a") == 8).all()
    assert store.read("target/b") is None
    store.load_state_dict({"generation": 1})
    assert (store.read("a") == 1).all()
    assert (store.read("target/a") == 7).all()
    store.prune(set())
    assert sorted(path.name for path in store.folder.rglob("*.npy")) == ["a.npy", "a.npy"]


def test_a_killed_hook_leaves_nothing_behind_in_folders(store: RefinedStore) -> None:
    store.write("target/a", np.ones((1, 4, 5), np.uint16))
    resumed = RefinedStore(store.folder)
    resumed.write("b", label(2), GIVEN)
    resumed.commit()
    assert resumed.read("target/a") is None


def test_shares_never_sum_to_more_than_they_did() -> None:
    rng = np.random.default_rng(0)
    share = rng.dirichlet((0.1, 0.1, 0.1), 20000).T.astype(np.float32)
    kept = shares(fixed_point(share))
    assert kept.dtype == np.float32
    assert (kept <= share + 1e-7).all()
    assert (share - kept).max() < 1.6e-5
    assert kept.sum(0, dtype=np.float64).max() <= 1 + 1e-7
    assert shares(fixed_point(np.array([0.0, 1.0, 1.5, -1.0]))).tolist() == [0, 1, 1, 0]


def test_two_processes_commit_together(store: RefinedStore) -> None:
    other = RefinedStore(store.folder)
    store.write("a", label(1), GIVEN)
    other.write("b", label(2), GIVEN)
    assert store.commit(store.pending() | other.pending()) == 40
    other.load_state_dict(store.state_dict())
    assert (other.read("a") == 1).all()
    assert (other.read("b") == 2).all()

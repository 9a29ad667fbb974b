"""The command line in this process, small data sets, and a trained run that tests may read and copy but not change."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.toy import write_toy
from typer.testing import CliRunner, Result

from maskmend.cli import app

TINY = (
    "network.width=4",
    "network.strides=[2,2]",
    "train.threads=1",
    "train.precision=fp32",
    "train.batch.any=4",
    "data.sidemaps.supervoxel_voxels=64",
)
"""Settings with which an epoch takes a moment."""

Maskmend = Callable[..., Result]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASKMEND_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def maskmend(*words: object) -> Result:
    """`maskmend WORDS`, in this process."""
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(name="maskmend")
def _maskmend() -> Maskmend:
    return maskmend


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], Path]:
    """The toy data set of these dimensions and classes, made once; not to be changed."""
    made: dict[tuple[int, int], Path] = {}

    def toy(dims: int, classes: int) -> Path:
        if (dims, classes) not in made:
            root = tmp_path_factory.mktemp("toy") / f"toy{dims}d{classes}"
            made[dims, classes] = write_toy(root, dims, classes, cases=6, clean=2)
        return made[dims, classes]

    return toy


@pytest.fixture
def dataset(toys: Callable[[int, int], Path], tmp_path: Path) -> Path:
    """A 2D data set of one's own."""
    return Path(shutil.copytree(toys(2, 2), tmp_path / "dataset"))


@pytest.fixture
def volumes(toys: Callable[[int, int], Path], tmp_path: Path) -> Path:
    """A 3D data set of one's own."""
    return Path(shutil.copytree(toys(3, 2), tmp_path / "volumes"))


@pytest.fixture(scope="session")
def trained(toys: Callable[[int, int], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `supervised` on the 2D data set; not to be changed."""
    run = tmp_path_factory.mktemp("trained") / "RUN"
    result = maskmend("train", toys(2, 2), "-o", run, "--method", "supervised", *TINY, "train.epochs=2")
    assert result.exit_code == 0, result.output
    return run


@pytest.fixture
def a_run(trained: Path, tmp_path: Path) -> Path:
    """A finished run of one's own."""
    return Path(shutil.copytree(trained, tmp_path / "RUN"))

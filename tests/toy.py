"""Ellipses with wrong masks, as an nnU-Net data set: enough to run every method in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from maskmend.data.cache import Cache
from maskmend.data.dataset import open_dataset, write_dataset
from maskmend.data.formats import Geometry, write_image, write_label
from maskmend.data.plan import DataConfig, Plan, make_plan
from maskmend.data.refined import RefinedStore
from maskmend.data.sidemaps import SideMapConfig
from maskmend.data.trainset import CaseSet
from maskmend.engine.fit import Fit, TrainConfig
from maskmend.engine.update import OptimConfig
from maskmend.engine.world import World
from maskmend.functional.rng import seed_all
from maskmend.methods import Method, find
from maskmend.networks import NetworkConfig, build

SIZE = {2: (32, 32), 3: (16, 16, 16)}
SMALL = {
    "adele": {"scales": (0.7, 1.0)},
    "alc": {"passes": 2},
    "dividemix": {"warmup_epochs": 1, "guess_epochs": 2},
    "gsd_net": {"weight_cap": 2, "ranking": "class"},
    "mlb_seg": {"views": ("in", "flip")},
    "mtcl": {"passes": 2},
    "rmd": {"warp_from": 1, "weight": 0.1},
    "sp_guided": {"ranking": "class", "patience": 1, "rounds": 2},
    "ua_mt": {"passes": 2},
}
"""Parameters fit to images this small, where a class may hold fewer pixels than are dropped."""


def ellipses(rng: np.random.Generator, size: tuple[int, ...], classes: int, grow: float) -> np.ndarray:
    """An ellipsoid in ``classes - 1`` slices, its radii changed by ``grow`` pixels."""
    grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"))
    centre = np.array(size).reshape(-1, *[1] * len(size)) / 2 + rng.uniform(-2, 2, (len(size), *[1] * len(size)))
    radius = size[0] * rng.uniform(0.3, 0.38, centre.shape)
    inside = (((grid - centre) / (radius + grow)) ** 2).sum(0) < 1
    slices = 1 + np.clip(((grid[0] - centre[0]) / (2 * radius[0]) + 0.5) * (classes - 1), 0, classes - 2).astype(int)
    return np.where(inside, slices, 0).astype(np.uint8)


def write_toy(root: Path, dims: int = 2, classes: int = 2, cases: int = 12, clean: int = 4) -> Path:
    """A data set whose first ``clean`` masks are right; the others are grown or shrunk by a twentieth of the side."""
    ending = ".png" if dims == 2 else ".nii.gz"
    for folder in ("imagesTr", "labelsTr", "truth"):
        (root / folder).mkdir(parents=True)
    geometry = Geometry((1.0,) * dims) if dims == 2 else Geometry((1.0,) * 3, (0.0,) * 3, tuple(np.eye(3).ravel()))
    rows = ["case,supervision"]
    for number in range(cases):
        truth, given = (
            ellipses(np.random.default_rng(number), SIZE[dims], classes, grow)
            for grow in (0.0, 0.0 if number < clean else SIZE[dims][0] / 20 * (-1) ** number)
        )
        noise = np.random.default_rng(1000 + number).normal(0, 12, truth.shape)
        image = np.clip(40 + 150 * truth / (classes - 1) + noise, 0, 255).astype(np.uint8)
        write_image(root / "imagesTr" / f"case{number:02d}_0000{ending}", image, geometry)
        write_label(root / "labelsTr" / f"case{number:02d}{ending}", given, geometry)
        write_label(root / "truth" / f"case{number:02d}{ending}", truth, geometry)
        rows.append(f"case{number:02d},{'clean' if number < clean else 'noisy'}")
    (root / "supervision.csv").write_text("\n".join(rows) + "\n")
    labels = {"background": 0} | {f"part{value}": value for value in range(1, classes)}
    write_dataset(root, ("grey",), labels, ending, cases)
    return root


def toy_set(root: Path, folder: Path, maps: tuple[str, ...] = (), world: World | None = None) -> tuple[CaseSet, Plan]:
    dataset = open_dataset(root)
    plan = make_plan(
        dataset, dataset.train, DataConfig(sidemaps=SideMapConfig(supervoxel_voxels=64, superpixel_pixels=16))
    )
    cases = CaseSet(
        dataset.train,
        dataset,
        plan,
        Cache(root.parent / "cache"),
        maps,
        RefinedStore(folder / "refined"),
        world or World(),
    )
    return cases, plan


def toy_method(name: str, plan: Plan, norm: str = "batch", **parameters: object) -> Method:
    """The method with a small network, always the same at the start."""
    cls, settings = find(name)
    seed_all(1)
    network = NetworkConfig(name="unet", width=8, strides=[2, 2], norm=norm)
    return cls(
        partial(build, network, plan.channels, plan.classes, plan.dims), settings(**SMALL.get(name, {}) | parameters)
    )


def toy_fit(root: Path, folder: Path, name: str, epochs: int = 4, **more: object) -> Fit:
    """A run of ``name`` on the data set at ``root``; every step is checkpointed."""
    folder.mkdir(parents=True, exist_ok=True)
    world = more.pop("world", World())
    norm, batch = more.pop("norm", "batch"), more.pop("batch", None)
    optim = more.pop("optim", OptimConfig(name="adam", lr=0.02, weight_decay=0.0))
    probe, plan = toy_method(name, toy_set(root, folder)[1]), None
    cases, plan = toy_set(root, folder, probe.maps, world)
    method = toy_method(name, plan, norm)
    batch = batch or ({"clean": 1, "imperfect": 3} if "clean" in method.supervision else {"any": 4})
    train = TrainConfig(epochs=epochs, batch=batch, precision="fp32", channels_last=False, save_every=1, log_every=1)
    return Fit(method, cases, folder, train, optim, name=name, world=world, **more)


def states_equal(left: Method, right: Method) -> bool:
    return not differ(left.state_dict(), right.state_dict())


def differ(a: object, b: object) -> bool:
    """Whether two tensors differ, or mappings of them; a method's extra state may be one."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() != b.keys() or any(differ(a[key], b[key]) for key in a)
    assert isinstance(a, torch.Tensor)
    assert isinstance(b, torch.Tensor)
    return not torch.equal(a, b)

"""What ``evidence.py`` runs: data sets at one size and budget, the noises put on them, and a row a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class NoiseSpec:
    """A noise of MaskMend, its parameters, and the share of masks that it corrupts."""

    name: str
    parameters: dict[str, object] = field(default_factory=dict)
    fraction: float = 1.0


@dataclass(frozen=True)
class Study:
    """One data set at one size and budget, and the noises put on it."""

    source: str
    prefix: str
    train: int
    test: int
    epochs: int
    steps: int
    rows: int
    settings: tuple[str, ...]
    noises: dict[str, NoiseSpec]
    methods: tuple[str, ...]
    under: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Methods that are run under some of the noises only."""
    cap: int = 3
    """T of GSD-Net, pixels: 5 at 128² in the paper, scaled with the size."""
    superpixel: int = 16
    """Mean size of a superpixel for SP-guided, pixels: as on its data sets, scaled with the size."""
    seeds: tuple[int, ...] = (0, 1)


@dataclass(frozen=True)
class Wrong:
    """The true share of wrong pixels: of all, and of those given each class."""

    share: float
    by_class: tuple[float, ...]


Words = Callable[[Study, str, Wrong], tuple[str, ...]]


@dataclass(frozen=True)
class Row:
    """How a method is run. ``clean``: it gets every tenth case's true mask; ``preset``: a file of configs/."""

    words: Words
    clean: bool = False
    preset: str = ""
    only_clean: bool = False
    views: int = 1
    """How many views of a case the method makes by itself; it gets fewer cases in return."""

    def batch(self, rows: int) -> str:
        """The batch plan of a step of so many rows."""
        if self.views > 1:
            return f"{{clean: {max(1, rows // 4)}, imperfect: {max(1, rows // self.views)}}}"
        if self.only_clean or not self.clean:
            return f"{{{'clean' if self.only_clean else 'any'}: {rows}}}"
        return f"{{clean: {max(1, rows // 4)}, imperfect: {rows - max(1, rows // 4)}}}"


def _supervised(study: Study, noise: str, wrong: Wrong) -> tuple[str, ...]:
    return ("method.name=supervised", "method.loss=ce")


def _co_teaching(study: Study, noise: str, wrong: Wrong) -> tuple[str, ...]:
    return ("method.name=co_teaching", f"method.tau={wrong.share:.4f}")


def _gsd(*more: str) -> Words:
    return lambda study, noise, wrong: (
        "method.name=gsd_net",
        f"method.tau={wrong.share:.4f}",
        f"method.weight_cap={study.cap}",
        *more,
    )


def _gsd_released(study: Study, noise: str, wrong: Wrong) -> tuple[str, ...]:
    """Lengths and the start of refinement scaled to our size and budget; ramps as given."""
    clip = (f"method.weight_cap={study.cap}", f"data.sidemaps.ring_cap={study.cap}")
    start = (f"method.refine_from={0.3 * study.epochs:.0f}", f"method.weight_epochs={study.epochs // study.cap}")
    by_hand = (
        ("method.majority=0.1",) if study.prefix == "CHN" and noise == "S_E" else ()
    )  # as its authors set it there
    return (f"method.tau={wrong.share:.4f}", *clip, *start, *by_hand)


def _sp(*more: str) -> Words:
    return lambda study, noise, wrong: (
        "method.name=sp_guided",
        f"method.tau={wrong.share:.4f}",
        f"data.sidemaps.superpixel_pixels={study.superpixel}",
        f"data.sidemaps.supervoxel_voxels={study.superpixel}",
        *more,
    )


def _sp_released(study: Study, noise: str, wrong: Wrong) -> tuple[str, ...]:
    """Its ranking by parts of superpixels and by class, which needs the share of wrong pixels in each class."""
    return (
        "method.name=sp_guided",
        f"method.tau={[round(share, 4) for share in wrong.by_class]}",
        f"data.sidemaps.superpixel_pixels={study.superpixel}",
        f"data.sidemaps.supervoxel_voxels={study.superpixel}",
        *("method.unit=part", "method.scope=batch", "method.ranking=class", "method.at_quota=drop"),
        *("method.tau_epochs=4", "method.class_weight=1e6", "method.gap=pixel", "method.gap_from_start=true"),
        *("method.rollback=false", "method.rounds=1", "method.relabel_by=probability"),
    )


def _plain(name: str, *more: str) -> Words:
    return lambda study, noise, wrong: (f"method.name={name}", *more)


ROWS = {
    "truth": Row(_supervised),
    "supervised": Row(_supervised),
    "supervised_and_clean": Row(_supervised, clean=True),
    "supervised_clean_only": Row(_supervised, clean=True, only_clean=True),
    "co_teaching": Row(_co_teaching),
    "gsd_paper": Row(_gsd()),
    "gsd_by_class": Row(_gsd("method.ranking=class")),
    "gsd_background": Row(_gsd("method.transfer=majority", "method.majority=0.1")),
    "gsd_released": Row(_gsd_released, preset="gsd_net/released.yaml"),
    "sp_paper": Row(_sp()),
    "sp_by_class": Row(_sp("method.ranking=class")),
    "sp_released": Row(_sp_released),
    "self_cleansing": Row(_plain("self_cleansing")),
    "alc": Row(_plain("alc", "network.dropout=0.5"), clean=True),
    "mlb_seg": Row(_plain("mlb_seg"), clean=True, views=4),
    "two_networks": Row(_plain("supervised", "method.networks=2")),
    "robust": Row(_plain("robust")),
    "robust_and_clean": Row(_plain("robust"), clean=True),
    "two_networks_truth": Row(_plain("supervised", "method.networks=2")),
    "robust_truth": Row(_plain("robust")),
}
TRUE = {"truth", "two_networks_truth", "robust_truth"}
"""Rows that learn from true masks."""
ONCE = TRUE | {"supervised_clean_only"}
"""Rows that no noise reaches."""

MARKOV = {
    "S_R": NoiseSpec("markov", {"steps": 200, "preference": 0.2, "variance": 0.05}),
    "S_E": NoiseSpec("markov", {"steps": 200, "preference": 0.8, "variance": 0.05}),
    "S_DE": NoiseSpec("dilate_erode", {"low": 9, "high": 11}),
}
AT_384 = MARKOV | {
    "S_R": NoiseSpec("markov", {"steps": 150, "preference": 0.2, "variance": 0.05}),
    "S_E": NoiseSpec("markov", {"steps": 150, "preference": 0.8, "variance": 0.05}),
}
VOLUMES = {
    "S_R": NoiseSpec("markov", {"steps": 20, "preference": 0.2, "variance": 0.05}),
    "S_E": NoiseSpec("markov", {"steps": 20, "preference": 0.8, "variance": 0.05}),
    "S_DE": NoiseSpec("dilate_erode", {"low": 1, "high": 2}),
}
SP = NoiseSpec("sp_guided", {"beta": 0.7}, fraction=0.7)
PAPERS = {  # one noise a paper, GSD-Net's first
    "S_R": MARKOV["S_R"],
    "SP": SP,
    "MTCL": NoiseSpec("dilate_erode_cube", {"low": 9, "high": 45}),
    "DSC": NoiseSpec("self_cleansing", {"beta": 10}, fraction=0.7),
    "MLB": NoiseSpec("mlb_seg", {"level": "L2"}),
}
PAPERS_3D = {
    "S_R": VOLUMES["S_R"],
    "SP": SP,
    "MTCL": NoiseSpec("dilate_erode_cube", {"low": 2, "high": 4}),
    "DSC": NoiseSpec("self_cleansing", {"beta": 1.5, "spread": 0.5}, fraction=0.7),
    "MLB": NoiseSpec("mlb_seg", {"level": "L2", "unit": "px", "scale": 0.15, "min_area": 12}),
}
FIVE = (
    "truth",
    "supervised_clean_only",
    "supervised",
    "supervised_and_clean",
    "gsd_paper",
    "gsd_released",
    "sp_paper",
    "sp_by_class",
    "sp_released",
    "alc",
    "self_cleansing",
    "mlb_seg",
    "two_networks",
    "robust",
    "robust_and_clean",
    "two_networks_truth",
    "robust_truth",
)
UNDER = {  # each method under the noise of its own paper; and all under GSD-Net's S_R
    "gsd_paper": ("S_R",),
    "gsd_released": ("S_R",),
    "gsd_by_class": ("S_R",),
    "sp_paper": ("S_R", "SP"),
    "sp_by_class": ("S_R", "SP"),
    "sp_released": ("S_R", "SP"),
    "alc": ("S_R", "MTCL"),
    "self_cleansing": ("S_R", "DSC"),
    "mlb_seg": ("S_R", "MLB"),
    "supervised_and_clean": ("S_R", "MTCL", "MLB"),
}
METHODS = ("truth", "supervised", "co_teaching", "gsd_paper", "gsd_released")
BUDGET = ("optim.lr=0.02", "train.threads=1", "train.log_every=20", "predict.window_batch=10")
FEW_IMAGES = ("network.norm=instance", "optim.name=adam", "optim.lr=0.003", "optim.schedule=poly")
COMMON = ("network.name=unet", "optim.name=sgd", "optim.weight_decay=1e-5", "optim.schedule=constant")
CHEST = (*COMMON, *BUDGET, "data.size=[64, 64]")
SKIN = (*COMMON, *BUDGET, "data.size=[64, 64]", *FEW_IMAGES)
HIPPOCAMPUS = (
    *COMMON,
    *BUDGET,
    "data.size=[32, 32, 32]",
    "augment.flip=0",
    "network.width=8",
    "network.strides=[2, 2]",
    "network.norm=instance",
    "optim.name=adam",
    "optim.lr=0.005",
)
CXR, ISIC, MSD = "cxr_lungs_montgomery_shenzhen", "isic2017_val_dermoscopy", "msd_hippocampus_3d"
STUDIES = {
    "papers_cxr": Study(CXR, "CHN", 160, 100, 24, 20, 8, CHEST, PAPERS, FIVE, UNDER),
    "papers_isic": Study(ISIC, "", 64, 34, 30, 8, 8, SKIN, PAPERS | {"S_R": AT_384["S_R"]}, FIVE, UNDER),
    "papers_hippocampus": Study(
        MSD, "", 24, 20, 16, 12, 2, HIPPOCAMPUS, PAPERS_3D, (*FIVE, "gsd_by_class"), UNDER, superpixel=27
    ),
    "cxr64": Study(
        CXR, "CHN", 160, 100, 24, 20, 8, CHEST, MARKOV, (*METHODS, "gsd_background"), {"gsd_background": ("S_E",)}
    ),
    "cxr128": Study(
        CXR,
        "CHN",
        160,
        100,
        24,
        20,
        8,
        (*COMMON, *BUDGET, "data.size=[128, 128]"),
        {"S_R": MARKOV["S_R"]},
        METHODS,
        cap=5,
    ),
    "isic64": Study(ISIC, "", 64, 34, 30, 8, 8, SKIN, AT_384, METHODS),
    "hippocampus": Study(
        MSD, "", 24, 20, 16, 12, 2, HIPPOCAMPUS, VOLUMES, (*METHODS, "gsd_by_class"), {"gsd_by_class": ("S_R",)}
    ),
}

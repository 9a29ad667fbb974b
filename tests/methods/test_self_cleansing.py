"""Deep Self-cleansing's parts: whose mask stays, whose is redrawn, with what, and at what cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from tests.toy import toy_fit, write_toy
from torch import Tensor, nn

from maskmend.config import load_config
from maskmend.data.formats import read_label, write_label
from maskmend.errors import InputError
from maskmend.functional.gmm import GAIN, ROUNDS
from maskmend.functional.losses import one_hot
from maskmend.methods import self_cleansing
from maskmend.methods.self_cleansing import Config, SelfCleansing
from maskmend.networks import NetworkConfig, build
from maskmend.types import IGNORE, Batch, Progress, Trust

PRESETS = Path(__file__).parents[2] / "configs" / "self_cleansing"
FIRST, SECOND = Progress(1, 10, 0, 1), Progress(6, 10, 0, 1)


class Sees(nn.Module):
    """A network that sees what is in the image, whose channels are the logits, and counts the cases."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.passes, self.scale = nn.Identity(), 0, nn.Parameter(torch.ones(()))

    def features(self, image: Tensor) -> Tensor:
        self.passes += len(image)
        return image * self.scale

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image))


class Cases:
    """A training set in memory, of one rank among ``ranks``; ``seen`` is the masks that the network sees, (N, *S)."""

    def __init__(self, label: Tensor, seen: Tensor, classes: int = 2, trust: Tensor | None = None) -> None:
        self.label, self.image = label, 8 * one_hot(seen, classes)
        self.trust = torch.full((len(label),), int(Trust.NOISY)) if trust is None else trust
        self.refined, self.written = label.clone(), label.clone()
        self.names, self.shapes = tuple(f"case{i}" for i in range(len(label))), (tuple(label.shape[1:]),) * len(label)
        self.mine, self.classes = range(len(label)), tuple(f"class {k}" for k in range(classes))

    def scan(self, batch_size: int = 3) -> Iterator[Batch]:
        for i in torch.tensor(self.mine).split(batch_size):
            yield Batch(self.image[i], self.label[i], self.trust[i], i, {"refined": self.refined[i]})

    def gather(self, index: Tensor, value: Tensor) -> Tensor:
        assert index.tolist() == list(self.mine)
        return value

    def write(self, name: str, index: Tensor, value: Tensor) -> None:
        assert name == "refined"
        self.written[index] = value

    def __len__(self) -> int:
        return len(self.label)


def a_disk(radius: float, size: int = 24, at: float = 11.5) -> Tensor:
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return ((y - at) ** 2 + (x - at) ** 2 < radius**2).long()


def disks(missing: int = 3, count: int = 10) -> tuple[Tensor, Tensor]:
    """Labels of which the first are missing, and what is truly there."""
    truth = torch.stack([a_disk(5 + i / 4) for i in range(count)])
    label = truth.clone()
    label[:missing] = 0
    return label, truth


def cleanse(cases: Cases, at: Progress = FIRST, **options: object) -> tuple[Tensor, dict[str, float]]:
    """The refined labels after one cleansing; each case has been seen once."""
    method = SelfCleansing(Sees, Config(**{"warmup": 0.1} | options)).eval()
    with torch.no_grad():
        logs = method.begin_epoch(at, cases)
    assert method.net.passes == len(cases.mine)
    return cases.written, {name: round(float(value), 6) for name, value in logs.items()}


# ------------------------------------------------------------------------------------------------- who is cleansed


def test_missing_labels_are_redrawn_and_the_others_stay() -> None:
    label, truth = disks()
    label[5, 11, 11] = 0  # a slip in a good label is left alone
    refined, logs = cleanse(Cases(label, truth))
    assert torch.equal(refined[:3], truth[:3])
    assert torch.equal(refined[3:], label[3:])
    assert logs == {"given_kept": 0.7, "refined_kept": 0.0, "redrawn": 0.3}


def test_the_cascade() -> None:
    """Given clean: given. Given noisy, refined clean: refined. Both noisy: redrawn (Sec. 2.2)."""
    label, truth = disks(missing=4)
    cases = Cases(label, truth)
    cases.refined[0:2] = torch.stack([a_disk(4.8), a_disk(5)])
    cases.refined[4:] = 0  # what was refined before counts for nothing where the given label is clean
    refined, logs = cleanse(cases, SECOND)
    assert torch.equal(refined[0:2], cases.refined[0:2])
    assert torch.equal(refined[2:4], truth[2:4])
    assert torch.equal(refined[4:], label[4:])
    assert logs == {"given_kept": 0.6, "refined_kept": 0.2, "redrawn": 0.2}


def test_at_the_first_cleansing_no_refined_label_is_believed() -> None:
    label, truth = disks()
    cases = Cases(label, truth)
    cases.refined[:3] = a_disk(6)
    refined, logs = cleanse(cases, FIRST)
    assert torch.equal(refined[:3], truth[:3])
    assert logs["refined_kept"] == 0


def test_it_comes_every_k_epochs_from_e1_on() -> None:
    label, truth = disks()
    came = [
        epoch
        for epoch in range(100)
        if SelfCleansing(Sees, Config(warmup=0.1, every=20)).begin_epoch(
            Progress(epoch, 100, 0, 1), Cases(label, truth)
        )
    ]
    assert came == [10, 30, 50, 70, 90]


def test_labels_of_no_evidence_stay() -> None:
    _, truth = disks()
    for seen in (truth, torch.zeros_like(truth)):  # perfect everywhere; nothing seen anywhere
        refined, logs = cleanse(Cases(truth, seen))
        assert torch.equal(refined, truth)
        assert logs["given_kept"] == 1


def test_a_set_of_one_kind_stays_whole_with_a_separation() -> None:
    _, truth = disks()
    seen = torch.stack([a_disk(5 + i / 4 - 0.4 - 0.02 * i) for i in range(10)])
    assert cleanse(Cases(truth, seen))[1]["given_kept"] < 1
    assert cleanse(Cases(truth, seen), separation=8)[1]["given_kept"] == 1


def test_trust_goes_before_the_mixture() -> None:
    """A label known to be clean stays whatever its loss; a case without a label gets one."""
    label, truth = disks()
    label[9] = IGNORE
    trust = torch.tensor([int(Trust.CLEAN)] + [int(Trust.NOISY)] * 8 + [int(Trust.UNLABELED)])
    refined, _ = cleanse(Cases(label, truth, trust=trust))
    assert torch.equal(refined[0], label[0])
    assert torch.equal(refined[1:], truth[1:])
    assert (label[9] == IGNORE).all()


def test_what_nobody_annotated_stays_unknown() -> None:
    label, truth = disks()
    label[:, :, :8] = IGNORE
    refined, logs = cleanse(Cases(label, truth))
    assert (refined[:, :, :8] == IGNORE).all()
    assert torch.equal(refined[:, :, 8:], truth[:, :, 8:])
    assert logs["redrawn"] == 0.3


def test_where_nothing_is_seen_nothing_changes() -> None:
    """The region R is empty: at first the given mask stays, later the refined one."""
    label, truth = disks(missing=0)
    seen = truth.clone()
    seen[0] = 0
    cases = Cases(label, seen)
    assert torch.equal(cleanse(cases, FIRST)[0][0], label[0])
    cases.refined[0], cases.refined[1] = a_disk(3), 0
    assert torch.equal(cleanse(cases, SECOND)[0][0], a_disk(3))


def test_what_neither_mask_nor_network_shows_says_nothing() -> None:
    """Seven slices of ten are empty, and seen as empty: their losses of 0 do not make the good masks look bad."""
    label = disks(missing=2, count=12)[0]
    seen = torch.stack([a_disk(5.5 + i / 4 + i % 3 / 8) for i in range(12)])  # never quite the mask
    empty = torch.zeros(28, 24, 24, dtype=torch.long)
    refined, logs = cleanse(Cases(torch.cat((empty, label)), torch.cat((empty, seen))))
    assert not refined[:28].any()
    assert torch.equal(refined[30:], label[2:])
    assert torch.equal(refined[28:30], seen[:2])
    assert logs == {"given_kept": 0.95, "refined_kept": 0.0, "redrawn": 0.05}
    empty_and_seen = torch.cat((empty, label[2:])), torch.cat((empty, seen[2:]))
    assert cleanse(Cases(*empty_and_seen), separation=8)[1]["given_kept"] == 1


def faint_rings() -> Cases:
    """Three labels are missing; the network sees disks clearly, but of rings it is hardly surer than not."""
    truth = torch.stack([a_disk(9 + i / 8) + a_disk(6 + i / 8) for i in range(10)])
    cases = Cases(truth.clone(), truth, classes=3)
    cases.label[:3] = cases.refined[:3] = 0
    cases.image[:, 1] /= 8  # exp(1) in exp(1) + 2: 0.58
    return cases


def test_a_mask_is_redrawn_only_by_a_network_that_is_sure_of_it() -> None:
    """Of rings the soft Dice is 2 × 0.58 / (1 + 0.58) = 0.73; of disks 0.92."""
    cases = faint_rings()
    refined, logs = cleanse(cases)
    assert torch.equal(refined[:3], (cases.image[:3, 2] > 0) * 2)  # disks alone
    assert torch.equal(refined[3:], cases.label[3:])
    assert logs == {"given_kept": 0.7, "refined_kept": 0.15, "redrawn": 0.15}
    for competence in (0.0, 0.7):
        assert torch.equal(cleanse(faint_rings(), competence=competence)[0][:3], cases.image[:3].argmax(1))


def test_a_mask_that_is_nearly_as_likely_as_the_new_one_stays() -> None:
    """Case 0 has a quarter of its disk, cases 1 and 2 have nothing."""
    label, truth = disks(missing=3)
    label[0] = truth[0]
    label[0, :14] = 0  # Dice 0.4
    stays, logs = cleanse(Cases(label, truth), margin=0.7)
    assert logs["redrawn"] == 0.2
    assert torch.equal(stays[0], label[0])
    assert torch.equal(stays[1:3], truth[1:3])
    for margin in (-1, 0.2):
        assert torch.equal(cleanse(Cases(label, truth), margin=margin)[0], truth)


@pytest.mark.parametrize("unknown", [0, 6])
def test_the_soft_dice_of_a_mask(unknown: int) -> None:
    """Worked by hand: of 12 rows of 10 pixels, 6 seen with p; what nobody annotated counts in neither."""
    seen = torch.zeros(1, 12, 10, dtype=torch.long)
    seen[:, 6:] = 1
    label = torch.zeros_like(seen)
    label[:, 9:] = 1
    label[:, :unknown] = IGNORE
    evidence = SelfCleansing(Sees, Config()).look(next(Cases(label, seen).scan())).evidence[0, :, 0].detach()
    p, far = 1 / (1 + math.exp(-8)), (60 - 10 * unknown) / (1 + math.exp(8))
    assert evidence[2] == pytest.approx((2 * 60 * p + 1) / (60 * p + 60 + far + 1))
    assert evidence[3] == pytest.approx((2 * 30 * p + 1) / (60 * p + 30 + far + 1))


def test_a_case_without_a_label_is_drawn_all_the_same() -> None:
    cases = faint_rings()
    cases.label[9], cases.trust[9] = IGNORE, int(Trust.UNLABELED)
    assert torch.equal(cleanse(cases)[0][9], cases.image[9].argmax(0))


def test_the_mixture_is_fitted_as_long_as_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it converges; or ten rounds at DivideMix's tolerance."""
    asked = []
    monkeypatch.setattr(self_cleansing, "small", lambda loss, *how: asked.append(how) or loss < 1)
    for options in ({}, {"em_steps": 10, "em_tol": 0.01}):
        cleanse(Cases(*disks()), **options)
    assert asked == [(True, 0.0, ROUNDS, GAIN), (True, 0.0, 10, 0.01)]


def test_ranks_decide_as_one() -> None:
    label, truth = disks()
    together, _ = cleanse(Cases(label, truth))

    class Rank(Cases):
        def gather(self, index: Tensor, value: Tensor) -> Tensor:
            evidence = [SelfCleansing(Sees, Config()).look(b).evidence for b in Cases(label, truth).scan()]
            everything = torch.cat(evidence)
            assert torch.equal(everything[list(self.mine)], value)
            return everything

    found = torch.full_like(label, 7)
    for rank in (0, 1, 2):
        cases = Rank(label, truth)
        cases.mine = range(rank, 10, 3)
        written, _ = cleanse(cases)
        found[list(cases.mine)] = written[list(cases.mine)]
    assert torch.equal(found, together)


# --------------------------------------------------------------------------------------------------- several classes


def test_each_class_is_judged_by_itself() -> None:
    """Disks in rings: where a disk is missing, or a ring, that one is redrawn and the other stays."""
    inner, outer = a_disk(4), a_disk(8)
    truth = torch.stack([outer + inner] * 10)
    label = truth.clone()
    label[0][label[0] == 2] = 0
    label[1][label[1] == 1] = 0
    refined, logs = cleanse(Cases(label, truth, classes=3))
    assert torch.equal(refined, truth)
    assert logs["redrawn"] == 2 / 20


def test_a_clean_class_has_the_word_over_a_redrawn_one() -> None:
    truth = torch.stack([a_disk(8) + a_disk(4)] * 10)
    label, seen = truth.clone(), truth.clone()
    label[0][label[0] == 2] = 0
    seen[:, 8:12] = seen[:, 8:12].sign() * 2  # disks reach into the rings, in all cases alike
    assert (seen[0][label[0] == 1] == 2).any()
    refined, _ = cleanse(Cases(label, seen, classes=3), competence=0.5)
    assert torch.equal(refined[0] == 1, label[0] == 1)
    assert torch.equal(refined[0] == 2, a_disk(4).bool())


def test_it_works_in_3d_on_thick_slices() -> None:
    truth = torch.zeros(8, 3, 24, 24, dtype=torch.long)
    truth[:, 1:] = torch.stack([a_disk(5 + i / 4) for i in range(8)])[:, None]
    label = truth.clone()
    label[:2] = 0
    assert torch.equal(cleanse(Cases(label, truth), grid=(3, 12, 12))[0], truth)


# --------------------------------------------------------------------------------------------------- the ablations


def test_without_the_filter_all_are_redrawn() -> None:
    _, truth = disks()
    label = truth.clone()
    label[:, 11, 11] = 0
    refined, logs = cleanse(Cases(label, truth), filter=False, margin=-1)
    assert torch.equal(refined, truth)
    assert logs["redrawn"] == 1


def test_pseudo_labels_of_table_4() -> None:
    """The region is half one kind and a quarter each of two others: prototypes keep to the first, the mean to none."""
    features = torch.zeros(1, 3, 8, 8)
    features[:, 0, :4], features[:, 1, 4:6], features[:, 2, 6:] = 1, 1, 1
    regions = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    regions[..., 0] = False
    drawn = {
        kind: SelfCleansing(Sees, Config(redraw=kind)).redraw(features, regions)[0, 0] > 0
        for kind in ("prototypes", "average", "prediction")
    }
    assert torch.equal(drawn["prototypes"], features[0, 0] > 0)
    assert torch.equal(drawn["average"], features[0, 0] > 0)  # cos 0.82, 0.41, 0.41
    assert torch.equal(drawn["prediction"], regions[0, 0])
    strict = SelfCleansing(Sees, Config(redraw="average", mu=0.9)).redraw(features, regions)
    assert not strict.any()
    assert (SelfCleansing(Sees, Config(mu=0.9)).redraw(features, regions)[0, 0, :4] == 253).all()


# ------------------------------------------------------------------------------------------------- grids and checks


@pytest.mark.parametrize(
    ("shape", "grid", "cell"),
    [
        ((256, 256), None, (4, 4)),
        ((128, 128), 64, (2, 2)),
        ((32, 48), None, (1, 1)),
        ((536, 200), None, (9, 4)),
        ((16, 256, 320), None, (1, 4, 5)),
        ((16, 256, 320), (4, 64, 32), (4, 4, 10)),
    ],
)
def test_cells(shape: tuple[int, ...], grid: object, cell: tuple[int, ...]) -> None:
    assert SelfCleansing(Sees, Config(grid=grid)).cell(shape) == cell
    assert SelfCleansing(Sees, Config(grid=grid, redraw="average")).cell(shape) == shape


def test_a_grid_that_does_not_divide_is_refused() -> None:
    cases = Cases(*disks())
    cases.shapes = ((32, 32), *((24, 40),) * 9)
    for grid in (None, 4, 8, (8, 4)):
        SelfCleansing(Sees, Config(grid=grid)).check(cases)
    with pytest.raises(InputError, match=r"case1: method\.grid=16 does not divide its 24 × 40 .* method\.grid=8, or"):
        SelfCleansing(Sees, Config(grid=16)).check(cases)
    with pytest.raises(InputError, match=r"case0: method\.grid=64 .* 32 × 32 .* method\.grid=8, or"):
        SelfCleansing(Sees, Config(grid=64)).check(cases)
    with pytest.raises(InputError, match=r"case0: .* method\.grid=\[8, 4\], or"):
        SelfCleansing(Sees, Config(grid=(9, 7))).check(cases)
    with pytest.raises(InputError, match=r"method\.grid=0: it should be 1 or more"):
        load_config(method="self_cleansing", overrides=["method.grid=0"])
    with pytest.raises(InputError, match=r"method\.grid=\[4, 4, 4\], but the images have 2 axes"):
        SelfCleansing(Sees, Config(grid=(4, 4, 4))).check(cases)


# ------------------------------------------------------------------------------------------------- the training loss


@pytest.mark.parametrize(
    ("epoch", "later"), [(0, 0), (49, 0), (50, 0), (100, 0.25), (249, 199 / 200), (250, 1), (499, 1)]
)
def test_the_weights_of_eq_8(epoch: int, later: float) -> None:
    for warmup in (0.1, 50):
        assert SelfCleansing(Sees, Config(warmup=warmup)).later(Progress(epoch, 500, 0, 1)) == pytest.approx(later)


def test_the_loss_of_eq_7() -> None:
    """Soft Dice of each case, linear denominators, smoothed by 1; what nobody annotated is left out."""
    image, label, refined = torch.randn(3, 2, 6, 6), torch.randint(-1, 2, (3, 6, 6)), torch.randint(0, 2, (3, 6, 6))
    batch = Batch(image, label, torch.ones(3), torch.arange(3), {"refined": refined})
    seen: list[Tensor] = []
    method = SelfCleansing(Sees, Config(warmup=50))
    method.step(batch, Progress(100, 500, 0, 1), lambda loss, group="main": seen.append(loss))
    p = torch.sigmoid(image[:, 1] - image[:, 0])  # two logits' softmax is the paper's sigmoid

    def dice(y: Tensor) -> Tensor:
        known = (y != IGNORE).float()
        y, q = y * known, p * known
        return (1 - (2 * (q * y).sum((1, 2)) + 1) / ((q + y).sum((1, 2)) + 1)).mean()

    torch.testing.assert_close(seen[0], 0.75 * dice(label) + 0.25 * dice(refined))


def test_a_run_of_few_epochs_has_its_cleansing() -> None:
    method = SelfCleansing(Sees, Config(warmup=0.1))
    assert [method.first(Progress(0, epochs, 0, 1)) for epochs in (1, 2, 10, 30, 500)] == [1, 1, 1, 3, 50]
    assert method.later(Progress(0, 2, 0, 1)) == 0


# ------------------------------------------------------------------------------------------------- when it begins


def e1(losses: Callable[[float], float], epochs: int) -> int | None:
    """The epoch in which the first cleansing comes, with these losses of the given labels by epoch."""
    method, label = SelfCleansing(Sees, Config(every=epochs)), disks()
    for epoch in range(epochs):
        at = Progress(epoch, epochs, 2 * epoch, 2)
        assert method.later(at) == 0
        if method.begin_epoch(at, Cases(*label)):
            assert method.first(at) == epoch
            return epoch
        method.curve[0] += 2 * losses(epoch)  # two steps
    return None


@pytest.mark.parametrize(
    ("losses", "epochs", "began"),
    [
        (lambda t: 0.2 + 0.6 * math.exp(-t / 2), 24, 8),
        (lambda t: 0.2 + 0.6 * math.exp(-t / 20), 500, 100),
        (lambda t: 0.2 + 0.7 / (1 + math.exp(t - 8)), 30, 14),  # a plateau, then a fall
        (lambda t: 0.9 - 0.001 * (t % 3), 30, None),  # nothing is learned
        (lambda t: 0.9 - 0.6 * t / 500, 500, 300),  # so late even where it falls to the end
        (lambda t: 0.9 - 0.6 * min(t, 60) / 60, 500, 100),
        (lambda t: math.nan, 30, None),
    ],
)
def test_it_begins_when_learning_has_settled(losses: Callable[[float], float], epochs: int, began: int | None) -> None:
    assert e1(losses, epochs) == began


def test_what_it_has_seen_of_the_losses_survives_a_resume() -> None:
    method, again = SelfCleansing(Sees, Config()), SelfCleansing(Sees, Config())
    batch = Batch(torch.randn(2, 2, 6, 6), torch.ones(2, 6, 6).long(), torch.ones(2), torch.arange(2), {})
    batch.maps["refined"] = batch.label
    logs = method.step(batch, Progress(0, 30, 0, 1), lambda loss, group="main": None)
    assert method.curve[0] == logs["given"]
    method.began.fill_(7)
    again.load_state_dict(method.state_dict())
    assert again.first(Progress(9, 30, 9, 1)) == 7
    assert torch.equal(again.curve, method.curve)


@pytest.mark.parametrize("warmup", ["1.5", "-1", "-0.1", "soon", ".inf", "1e400"])
def test_a_warmup_that_is_none_is_refused(warmup: str) -> None:
    with pytest.raises(InputError, match=r"method\.warmup"):
        load_config(method="self_cleansing", overrides=[f"method.warmup={warmup}"])


# ------------------------------------------------------------------------------------------------- presets, all of it


@pytest.mark.parametrize("preset", sorted(PRESETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_presets_take_a_step(preset: Path) -> None:
    config = load_config(preset)
    cls, settings = config.method_parts()
    small = NetworkConfig(**config.network.model_dump() | {"width": 4})
    method = cls(partial(build, small, 1, 4, 2), settings)
    label = torch.randint(0, 4, (2, 64, 64))
    batch = Batch(torch.randn(2, 1, 64, 64), label, torch.ones(2), torch.arange(2), {"refined": label})
    method.step(batch, Progress(100, 500, 0, 1), lambda loss, group="main": loss.backward())
    assert all(p.grad is not None for p in method.parameters())
    assert (config.train.epochs, config.train.batch) == (500, {"any": 16})


def test_the_papers_numbers_are_the_defaults() -> None:
    """K aside, which is 64 at the paper's sizes; and what is ours, so that no masks get worse."""
    default, paper = Config(), load_config(PRESETS / "paper_hcc.yaml")
    _, settings = paper.method_parts()
    assert settings.model_copy(update={"grid": None, "warmup": "auto", "competence": 0.8, "margin": 0.2}) == default
    assert SelfCleansing(Sees, settings).first(Progress(0, 500, 0, 1)) == 50
    assert (settings.competence, settings.margin) == (0, -1)
    method = SelfCleansing(Sees, default)
    assert method.cell((256, 256)) == SelfCleansing(Sees, settings).cell((256, 256))


@pytest.mark.slow
@pytest.mark.parametrize(("dims", "classes"), [(2, 4), (3, 2)])
def test_a_run_mends_the_missing_masks(dims: int, classes: int, tmp_path: Path) -> None:
    """A third of the masks are emptied; in the end exactly these are redrawn, near the truth."""
    root = write_toy(tmp_path / "data", dims, classes, cases=24, clean=0)
    given = sorted((root / "labelsTr").iterdir())
    for number, file in enumerate(given):
        truth = read_label(root / "truth" / file.name)
        write_label(file, truth.array * (number >= 8), truth.geometry)
    fit = toy_fit(root, tmp_path / "run", "self_cleansing", epochs=15, norm="instance")
    fit.run()
    dice = []
    for number, file in enumerate(given):
        truth, refined = read_label(root / "truth" / file.name).array, fit.data.refined.read(fit.data.names[number])
        for k in range(1, classes):
            dice.append(2 * ((refined == k) & (truth == k)).sum() / ((refined == k).sum() + (truth == k).sum()))
    assert sum(dice[: 8 * (classes - 1)]) / (8 * (classes - 1)) > 0.9
    assert min(dice[8 * (classes - 1) :]) == 1

"""Cross-mending's parts: who learns which rows, which masks are redrawn with what, what edges and clean masks tell."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskmend.functional.losses import one_hot
from maskmend.methods.robust import ENOUGH, LEVELS, Config, Robust, ends, with_class
from maskmend.types import IGNORE, Batch, Progress, Trust

FIRST, LOOK = Progress(0, 10, 0, 1), Progress(3, 10, 0, 1)


class Sees(nn.Module):
    """A network whose logits are the channels of the image; it counts the rows that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.rows = nn.Parameter(torch.ones(())), 0

    def forward(self, image: Tensor) -> Tensor:
        self.rows += len(image)
        return image * self.scale


def disc(radius: float, size: int = 48, at: float = 0.0) -> Tensor:
    grid = np.mgrid[:size, :size] - size / 2 - at
    return torch.from_numpy((np.square(grid).sum(0) < radius**2).astype(np.int64))


class Cases:
    """A training set in memory. seen: the masks that the networks see, (N, *S)."""

    def __init__(self, label: Tensor, seen: Tensor | None = None, clean: int = 0, image: Tensor | None = None) -> None:
        self.label, self.written, self.scans = label, label.clone(), 0
        self.image = 6 * one_hot(seen, 2) if image is None and seen is not None else image
        self.trust = torch.full((len(label),), int(Trust.NOISY))
        self.trust[:clean] = int(Trust.CLEAN)
        self.shapes = (tuple(label.shape[1:]),) * len(label)
        self.steps = (1.0,) * (label.ndim - 1)
        self.sizes = torch.stack([(label == k).flatten(1).sum(1) for k in range(2)], 1)

        self.classes = ("background", "disc")

    def __len__(self) -> int:
        return len(self.label)

    def batch(self, index: Tensor) -> Batch:
        assert self.image is not None
        depth = torch.stack([depths(label) for label in self.label[index]])
        maps = {"refined": self.written[index], "distance": depth}
        return Batch(self.image[index], self.label[index], self.trust[index], index, maps)

    def scan(self, batch_size: int = 8) -> Iterator[Batch]:
        self.scans += 1
        for index in torch.arange(len(self)).split(batch_size):
            yield self.batch(index)

    def gather(self, index: Tensor, value: Tensor) -> Tensor:
        full = value.new_zeros(len(self), *value.shape[1:])
        full[index] = value
        return full

    def write(self, name: str, index: Tensor, value: Tensor) -> None:
        assert name == "refined"
        self.written[index] = value


def depths(label: Tensor) -> Tensor:
    from edt import edt

    mask = (label == 1).numpy()
    return torch.from_numpy(np.where(mask, edt(mask), edt(~mask)) - 0.5)


@pytest.fixture(autouse=True)
def as_the_engine_does() -> Iterator[None]:
    """Looks are without gradients."""
    with torch.no_grad():
        yield


def method(**settings: object) -> Robust:
    return Robust(Sees, Config(**settings)).eval()


def test_enough_clean_cases_teach_alone_until_the_first_look_and_each_one_network_until_the_last() -> None:
    label = torch.stack([disc(9)] * (ENOUGH + 4))
    data, made = Cases(label, label, clean=ENOUGH), method(edges=False)
    made.begin_epoch(FIRST, data)
    batch = data.batch(torch.arange(len(label)))
    for epoch, of_clean, of_noisy in ((2, 1, 0), (3, 1, 2), (6, 2, 2)):
        at, made.net1.rows, made.net2.rows = Progress(epoch, 10, 0, 1), 0, 0
        made.step(batch, at, lambda loss, group="main": None)
        assert made.net1.rows == made.net2.rows == (ENOUGH * of_clean + 4 * of_noisy) / 2
        learnt = torch.stack([made.learns(batch, at, net) for net in (0, 1)]).sum(0)
        assert learnt.tolist() == [of_clean] * ENOUGH + [of_noisy] * 4


def test_what_clean_cases_had_redrawn_teaches_after_the_last_look_only() -> None:
    label = torch.stack([disc(9)] * (ENOUGH + 4))
    data, made = Cases(label, label, clean=ENOUGH), method(edges=False)
    made.begin_epoch(FIRST, data)
    data.written[ENOUGH + 1] = disc(12)
    batch = data.batch(torch.arange(len(label)))
    for epoch, taught in ((3, False), (6, True)):
        noisy = made.learns(batch, Progress(epoch, 10, 0, 1), 0)[ENOUGH:]
        assert noisy.tolist() == [True, taught, True, True]


def test_too_few_clean_cases_are_learnt_as_all_others_are() -> None:
    data, made = Cases(torch.stack([disc(9)] * 8), torch.stack([disc(9)] * 8), clean=ENOUGH - 1), method(edges=False)
    made.begin_epoch(FIRST, data)
    assert all(made.learns(data.batch(torch.arange(8)), Progress(2, 10, 0, 1), net).all() for net in (0, 1))


@pytest.mark.parametrize(
    ("batch", "clean", "epoch", "found"),
    [
        ({"any": 8}, ENOUGH, 2, {"clean": 8, "imperfect": 0}),
        ({"any": 8}, ENOUGH, 3, {"clean": 4, "imperfect": 4}),
        ({"any": 8}, ENOUGH, 6, {"clean": 4, "imperfect": 4}),
        ({"any": 1}, ENOUGH, 3, {"any": 1}),
        ({"any": 8}, 16, 2, {"any": 8}),
        ({"any": 8}, ENOUGH - 1, 2, {"any": 8}),
        ({"clean": 2, "imperfect": 6}, ENOUGH, 2, {"clean": 2, "imperfect": 6}),
    ],
)
def test_clean_cases_fill_the_batches_until_the_first_look_and_half_of_them_afterwards(
    batch: dict[str, int], clean: int, epoch: int, found: dict[str, int]
) -> None:
    trust = torch.full((16,), int(Trust.NOISY))
    trust[:clean] = int(Trust.CLEAN)
    assert method().rows(batch, trust, Progress(epoch, 10, 0, 1)) == found
    assert method(looks=()).rows(batch, trust, Progress(epoch, 10, 0, 1)) == batch


def test_enough_clean_masks_judge_the_others() -> None:
    few = f"{ENOUGH - 1} clean masks are too few to judge the others; {ENOUGH} of this fold are needed."
    for count, said in ((ENOUGH - 1, [few]), (ENOUGH, [f"{ENOUGH} clean masks judge the others."])):
        made = method(edges=False)
        made.begin_epoch(FIRST, Cases(torch.stack([disc(9)] * 16), torch.stack([disc(9)] * 16), count))
        assert list(made.sentences) == said


def test_a_mask_unlike_what_networks_see_is_redrawn_as_a_whole_and_right_ones_stay() -> None:
    seen = torch.stack([disc(10 + i % 3) for i in range(12)])
    label = seen.clone()
    label[2], label[7] = disc(4), disc(18)
    data = Cases(label, seen)
    assert method().begin_epoch(LOOK, data)["redrawn"] == pytest.approx(2 / 12)
    assert torch.equal(data.written, seen)


@pytest.mark.parametrize("clean", [0, 8])
def test_networks_that_draw_most_masks_wrongly_redraw_none(clean: int) -> None:
    """A mask that was deleted is doubted more than usual, by networks that see discs everywhere."""
    seen, label = torch.stack([disc(20)] * 16), torch.stack([disc(7)] * 16)
    label[14] = 0
    data, made = Cases(label, clean=clean, image=one_hot(seen, 2)), method(edges=False)
    made.begin_epoch(FIRST, data)
    made.begin_epoch(LOOK, data)
    assert torch.equal(data.written, label)


@pytest.mark.parametrize(("epochs", "looks"), [(1, (0.3, 0.6)), (10, (1.0,)), (10, ())])
def test_where_no_look_comes_clean_cases_are_learnt_as_all_others_are(epochs: int, looks: tuple[float, ...]) -> None:
    data, made = Cases(torch.stack([disc(9)] * 8), torch.stack([disc(9)] * 8), clean=ENOUGH), method(looks=looks)
    at, batch = Progress(0, epochs, 0, 1), data.batch(torch.arange(8))
    made.begin_epoch(at, data)
    assert made.rows({"any": 8}, data.trust, at) == {"any": 8}
    assert all(made.learns(batch, at, net).all() for net in (0, 1))
    assert not made.sentences


def test_nothing_happens_between_looks() -> None:
    data, made = Cases(torch.stack([disc(4)] * 4), torch.stack([disc(12)] * 4)), method()
    made.begin_epoch(FIRST, data)
    assert made.begin_epoch(Progress(2, 10, 0, 1), data) == {}
    assert torch.equal(data.written, data.label)


def test_clean_masks_are_never_redrawn_and_show_how_much_a_right_one_is_doubted() -> None:
    seen = torch.stack([disc(10)] * 24)
    label = seen.clone()
    label[:ENOUGH] = disc(8)  # of right masks, all are doubted as much
    label[12], label[13] = disc(8), disc(3)
    data, made = Cases(label, seen, clean=ENOUGH), method(edges=False)
    made.begin_epoch(FIRST, data)
    made.begin_epoch(LOOK, data)
    assert [i for i in range(24) if not torch.equal(data.written[i], label[i])] == [13]


def test_worse_judges_of_clean_masks_have_no_say() -> None:
    seen = torch.stack([disc(10)] * 16)
    label = seen.clone()
    label[12] = disc(3)
    data, made = Cases(label, seen, clean=ENOUGH), method()
    made.begin_epoch(FIRST, data)
    data.written[5] = disc(9)  # as an earlier look drew it
    before, made.skill = data.written.clone(), torch.tensor(1.1)
    made.begin_epoch(LOOK, data)
    assert torch.equal(data.written, before)
    assert list(made.sentences) == ["The networks draw the clean masks worse than before: nothing is redrawn anew."]


def noisy_images(count: int, radius: float) -> Tensor:
    rng = np.random.default_rng(0)
    return torch.stack([
        torch.from_numpy(rng.normal(size=(1, 48, 48))).float() + 3 * disc(radius + i % 2) for i in range(count)
    ])  # fmt: skip


@pytest.mark.parametrize(("given", "sign"), [(8, -1), (16, 1), (12, 0)])
def test_edges_tell_when_every_mask_is_too_tight_or_too_wide(given: int, sign: int) -> None:
    found = ends(Cases(torch.stack([disc(given + i % 2) for i in range(12)]), image=noisy_images(12, 12)))[1]
    assert (found.sign() == sign).all()
    assert (found - (given - 12)).abs().max() <= 1.5


def test_edges_tell_which_masks_are_off_where_others_are_right() -> None:
    radii = [8, 17, 12, 16, 7, *[12] * 9]
    data = Cases(torch.stack([disc(r + i % 2) for i, r in enumerate(radii)]), image=noisy_images(14, 12), clean=1)
    found = ends(data)[1]
    assert (found.abs() - (torch.tensor(radii) - 12).abs()).abs()[1:].max() <= 1.5
    assert torch.equal(found.sign(), torch.tensor([0, 1, 0, 1, -1, *[0] * 9])), "a clean one is believed"


def test_the_strip_between_masks_and_edges_teaches_nothing_before_the_first_look() -> None:
    data, made = Cases(torch.stack([disc(8), disc(12), disc(12)]), torch.stack([disc(8)] * 3)), method()
    batch = data.batch(torch.arange(3))
    made.offset = torch.tensor([[0.0, 0, 0], [-3.0, 2.0, 0.0]])
    depth, label = batch.maps["distance"], made.believed(batch, FIRST)
    assert torch.equal(label[0] == IGNORE, (batch.label[0] == 0) & (depth[0] < 6))
    assert torch.equal(label[1] == IGNORE, (batch.label[1] == 1) & (depth[1] < 4))
    assert torch.equal(label[2], batch.label[2])
    made.offset[1, 1] = 30.0
    kept = (made.believed(batch, FIRST)[1] == 1).sum() / (batch.label[1] == 1).sum()
    assert kept == pytest.approx(made.config.core, abs=0.05), "the inside still teaches"
    assert torch.equal(made.believed(batch, LOOK), batch.label)


class Slope(Sees):
    """Log-odds that fall by 1 in 3 pixels, and name a disc 3 pixels too wide; nothing in images without one."""

    def forward(self, image: Tensor) -> Tensor:
        there = image[..., 20:28, 20:28].mean((1, 2, 3)) > 1
        odds = torch.where(there.view(-1, 1, 1), (15 - depth_of_disc()) / 3, -9.0)
        return torch.stack((torch.zeros_like(odds), odds), 1)


def test_masks_off_their_edges_are_drawn_at_the_level_that_ends_at_edges() -> None:
    label = torch.stack([disc(7 if i < 10 else 12 + i % 2) for i in range(20)])
    data, made = Cases(label, image=noisy_images(20, 12)), Robust(Slope, Config()).eval()
    made.begin_epoch(FIRST, data)
    assert made.offset[1].nonzero().flatten().tolist() == list(range(10))
    assert abs(made.levels(data)[1] - 1.0) <= float(LEVELS[1] - LEVELS[0])
    assert made.begin_epoch(LOOK, data)["redrawn"] == pytest.approx(0.5)
    assert torch.equal(data.written[10:], label[10:])
    assert float((data.written[:10] != disc(12.5)).float().mean()) < 0.05


def test_a_class_that_few_cases_hold_is_drawn_to_end_at_edges_too() -> None:
    label = torch.stack([disc(7 if i < 10 else 12 + i % 2) for i in range(20)])
    nothing = torch.randn(40, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    image = torch.cat((noisy_images(20, 12), nothing))
    label = torch.cat((label, torch.zeros(40, 48, 48, dtype=torch.int64)))
    data, made = Cases(label, image=image), Robust(Slope, Config()).eval()
    made.begin_epoch(FIRST, data)
    assert made.accepted(data, {1: 1.0}, torch.zeros(60, 1))[1].nonzero().flatten().tolist() == list(range(10))


def test_edges_of_thick_slices_are_measured_as_in_the_patient() -> None:
    """Balls, five times as high as their voxels are wide."""
    grid = (np.mgrid[:14, :56, :56] - np.array([7, 28, 28]).reshape(3, 1, 1, 1)) * np.array([5, 1, 1]).reshape(
        3, 1, 1, 1
    )
    wrong, rng = np.array([0, 5, 0, -5] * 5), np.random.default_rng(0)
    balls = {offset: torch.from_numpy(np.square(grid).sum(0) < (18 + offset) ** 2).long() for offset in (0, 5, -5)}
    image = torch.from_numpy(rng.normal(size=(20, 1, 14, 56, 56)).astype(np.float32)) + 3 * balls[0]
    data = Cases(torch.stack([balls[offset] for offset in wrong]), image=image)
    data.steps = (5.0, 1.0, 1.0)
    assert float((ends(data)[1] - torch.from_numpy(wrong)).abs().max()) <= 1.5


def test_what_nobody_annotated_is_no_edge() -> None:
    """Of each object only the inside is annotated, and what is far outside."""
    inner, outer = (torch.stack([disc(radius + i % 2) for i in range(12)]) for radius in (8, 16))
    label = torch.where((outer == 1) & (inner == 0), IGNORE, inner)
    assert not ends(Cases(label, image=noisy_images(12, 12))).any()
    assert ends(Cases(inner, image=noisy_images(12, 12)))[1].all()


def test_cases_are_read_once_for_all_classes() -> None:
    """And not at all where there is nothing to ask."""
    label = torch.stack([disc(9)] * 12)
    label = torch.where(label == 1, torch.arange(12)[:, None, None] % 3 + 1, 0)
    data, empty = Cases(label, image=noisy_images(12, 12)), Cases(0 * label)
    data.sizes = torch.stack([(data.label == k).flatten(1).sum(1) for k in range(4)], 1)
    for cases, times in ((data, 1), (empty, 0)):
        ends(cases)
        assert cases.scans == times


def test_looks_are_shares_of_the_run() -> None:
    for looks in ((-0.1,), (0.3, 1.5)):
        with pytest.raises(ValueError, match="looks"):
            Config(looks=looks)


def test_what_is_drawn_off_the_edge_too_is_not_taken() -> None:
    label = torch.stack([disc(7 if i < 10 else 12 + i % 2) for i in range(20)])
    data, made = Cases(label, image=noisy_images(20, 12)), Robust(Slope, Config()).eval()
    made.begin_epoch(FIRST, data)
    able, unable = torch.zeros(20, 1), torch.full((20, 1), 0.9)
    assert made.accepted(data, {1: 1.0}, able)[1][:10].all()
    assert not made.accepted(data, {1: 3.0}, able)[1].any()
    assert not made.accepted(data, {1: 1.0}, unable)[1].any(), "networks that draw worse than the masks are"


def test_a_class_is_redrawn_but_not_in_place_of_others() -> None:
    label = torch.tensor([[0, 1, 1, 2, 0], [0, 1, 1, 2, 0]])
    mask = torch.tensor([[1, 1, 0, 1, 0], [1, 1, 0, 1, 0]], dtype=torch.bool)
    drawn = with_class(label, 1, mask, torch.tensor([True, False]))
    assert drawn.tolist() == [[1, 1, 0, 2, 0], [0, 1, 1, 2, 0]]


def depth_of_disc() -> Tensor:
    grid = np.mgrid[:48, :48] - 24.0
    return torch.from_numpy(np.sqrt(np.square(grid).sum(0))).float()


def test_what_it_has_seen_survives_a_checkpoint() -> None:
    made, other = method(), method()
    made.skill, made.offset = torch.tensor(0.83), torch.tensor([[0.0, 0], [-3.5, 2]])
    made.side = torch.tensor([0, 1])
    other.load_state_dict(made.state_dict())
    assert other.skill == made.skill
    assert torch.equal(other.side, made.side)
    assert torch.equal(other.offset, made.offset)


def test_it_says_what_it_saw() -> None:
    label = torch.stack([disc(7 if i < 10 else 12 + i % 2) for i in range(20)])
    data, made = Cases(label, image=noisy_images(20, 12)), Robust(Slope, Config()).eval()
    made.begin_epoch(FIRST, data)
    (said,) = made.sentences
    assert said.startswith("10 of 20 masks of disc end off the edge in their image, too tight, by about 5")
    made.begin_epoch(LOOK, data)
    assert list(made.sentences) == ["10 of 20 masks are redrawn."]
    right = Cases(torch.stack([disc(12 + i % 2) for i in range(20)]), image=noisy_images(20, 12))
    made.begin_epoch(FIRST, right)
    assert list(made.sentences) == ["Images contradict no mask."]
    made.begin_epoch(FIRST, Cases(label, image=noisy_images(20, 12), clean=9))
    first, second = list(made.sentences)
    assert first == "9 clean masks judge the others."
    assert second.startswith("1 of 20 masks of disc end off the edge"), "clean ones are believed"


def test_without_looks_it_is_two_plain_networks() -> None:
    label = torch.stack([disc(7 if i < 10 else 12 + i % 2) for i in range(20)])
    data, made = Cases(label, image=noisy_images(20, 12)), method(looks=())
    made.begin_epoch(FIRST, data)
    batch = data.batch(torch.arange(20))
    assert torch.equal(made.believed(batch, FIRST), label)
    assert made.learns(batch, FIRST, 0).all()
    assert made.learns(batch, FIRST, 1).all()


def test_a_later_look_judges_the_given_masks_again() -> None:
    seen = torch.stack([disc(10)] * 12)
    data, made = Cases(seen.clone(), seen), method(edges=False)
    data.label[5] = disc(4)
    data.written[3] = disc(4)  # redrawn at the first look, wrongly
    made.begin_epoch(LOOK, data)
    assert torch.equal(data.written, seen)

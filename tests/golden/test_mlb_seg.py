"""MLB-Seg against arrays computed by the authors' own functions; their networks have one sigmoid channel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskmend.config import load_config
from maskmend.functional import meta
from maskmend.functional.losses import ce
from maskmend.functional.views import Views, apply, classes_in, disagreement, ensemble, label_in
from maskmend.methods.mlb_seg import Config

Arrays = dict[str, np.ndarray]
Golden = Callable[[str], Arrays]
PRESETS = Path(__file__).parents[2] / "configs" / "mlb_seg"
BACKGROUND = 0


class TwoLogits(nn.Module):
    """The reference network, its one logit against 0."""

    def __init__(self, arrays: dict[str, Tensor], start: str) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 1, 3, padding=1)).double()
        self.net.load_state_dict({name: arrays[f"{start}_{name}"] for name in self.net.state_dict()})

    def forward(self, image: Tensor) -> Tensor:
        logit = self.net(image)
        return torch.cat((torch.zeros_like(logit), logit), 1)


@pytest.fixture
def arrays(golden: Golden) -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in golden("alc_dsc_mlb_mlbseg").items()}


def by_view(rows: Tensor) -> Tensor:
    """Image by image, as released -> view by view."""
    return rows.unflatten(0, (2, 5)).transpose(0, 1).flatten(0, 1)


def drawn(arrays: dict[str, Tensor]) -> Views:
    """Pixels of margin and codes of flips, as views: original, zoom in, zoom out twice, flip."""
    side, one = arrays["ple_image"].shape[-1], torch.ones(2, 1)
    zoom = [one, 1 + 2 * arrays["ple_zoom_in"].view(2, 1) / side, 1 - 2 * arrays["ple_zoom_out"] / side, one]
    flip = torch.zeros(5, 2, 2, dtype=torch.bool)
    flip[4] = (arrays["ple_flip"] >> torch.arange(2)) % 2 == 1
    return Views(torch.cat(zoom, 1).T.double(), flip)


def two_classes(prob: Tensor) -> Tensor:
    return torch.cat((1 - prob, prob), 1)


def test_views_of_images_and_labels(arrays: dict[str, Tensor]) -> None:
    views = drawn(arrays)
    image = apply(arrays["ple_image"].repeat(5, 1, 1, 1), views)
    torch.testing.assert_close(image, by_view(arrays["ple_img_aug"]), rtol=0, atol=3e-6)
    label = label_in(arrays["ple_label"][:, 0].long(), views, 2, BACKGROUND)
    assert torch.equal(label, by_view(arrays["ple_lab_aug"])[:, 0].long())


def test_pseudo_labels(arrays: dict[str, Tensor]) -> None:
    views = drawn(arrays)
    mean = ensemble(two_classes(by_view(arrays["ple_pred"]).double()), views, BACKGROUND)
    seen = apply(mean.repeat(5, 1, 1, 1), views, BACKGROUND)[:, 1:]
    torch.testing.assert_close(seen, by_view(arrays["ple_avg"]).double(), rtol=0, atol=1e-6)
    assert torch.equal(classes_in(mean, views, BACKGROUND), by_view(arrays["ple_pseudo"])[:, 0].long())


def test_consistency_of_views(arrays: dict[str, Tensor]) -> None:
    prob = by_view(arrays["ple_pred"]).double().requires_grad_()
    loss = disagreement(two_classes(prob), drawn(arrays), BACKGROUND, one_way=True)
    loss.backward()
    assert loss.item() == pytest.approx(arrays["ple_cons_loss"].item(), rel=1e-6)
    torch.testing.assert_close(prob.grad, by_view(arrays["ple_cons_grad"]).double(), rtol=1e-4, atol=1e-10)


def clean_loss(arrays: dict[str, Tensor]) -> Callable[[meta.Net], Tensor]:
    return lambda net: nn.functional.cross_entropy(net(arrays["meta_xc"]), arrays["meta_yc"][:, 0].long())


def worths(net: nn.Module, arrays: dict[str, Tensor], at: meta.Weights | None) -> Tensor:
    """Of given and pseudo-labels, (2, B, H, W)."""
    _, toward = meta.gradient(net, clean_loss(arrays), at)
    logits, slope = meta.tangent(net, arrays["meta_x"], toward)
    labels = (arrays["meta_y"][:, 0].long(), logits.argmax(1))
    return torch.stack([meta.worth(logits, slope, label) for label in labels])


def test_weights_of_the_papers_virtual_step(arrays: dict[str, Tensor]) -> None:
    net = TwoLogits(arrays, "meta_param0")
    value, toward = meta.gradient(net, clean_loss(arrays))
    logits, slope = meta.tangent(net, arrays["meta_x"], toward)
    assert value.item() == pytest.approx(arrays["meta_clean_loss0"].item(), rel=1e-12)
    torch.testing.assert_close(logits.softmax(1)[:, 1:], arrays["meta_prob0"])
    torch.testing.assert_close(slope[:, 1:], arrays["meta_logit_jvp0"], rtol=1e-9, atol=1e-12)
    assert torch.equal(logits.argmax(1), arrays["meta_pseudo0"][:, 0].long())

    worth = worths(net, arrays, None)
    by_source = arrays["meta_grad_eps0"].transpose(0, 1)
    torch.testing.assert_close(arrays["meta_lr"] * worth, (-by_source).clamp_min(0), rtol=1e-9, atol=1e-13)
    for over in ("joint", "separate"):
        expected = arrays[f"meta_weight0_{over}"].transpose(0, 1)
        torch.testing.assert_close(meta.normalise(worth, over), expected, rtol=1e-5, atol=1e-12)


def test_weights_of_the_released_virtual_step(arrays: dict[str, Tensor]) -> None:
    """It also takes a consistency term, momentum and weight decay."""
    net, target = TwoLogits(arrays, "meta_param1"), arrays["meta_cons_target1"]
    lr, here = arrays["meta_lr"].item(), meta.learnable(net)
    smooth = (net(arrays["meta_x"]).softmax(1)[:, 1:] - target).square().mean()
    before = {  # the step before was lr * buffer
        name: w.detach() + lr * arrays[f"meta_momentum1_{name.split('.', 1)[1]}"] for name, w in here.items()
    }
    at = meta.virtual_step(net, meta.gradient_of(smooth, net), lr, 5e-4, 0.9, before)
    weight = meta.normalise(worths(net, arrays, at))
    torch.testing.assert_close(weight, arrays["meta_weight1_joint"].transpose(0, 1), rtol=1e-5, atol=1e-12)


def test_cross_entropy_is_the_released_loss(arrays: dict[str, Tensor]) -> None:
    logits = TwoLogits(arrays, "meta_param0")(arrays["meta_x"])
    expected = nn.functional.binary_cross_entropy(arrays["meta_prob0"], arrays["meta_y"], reduction="none")[:, 0]
    torch.testing.assert_close(ce(logits, arrays["meta_y"][:, 0].long()).double(), expected, rtol=1e-5, atol=1e-6)


def test_presets_differ_from_the_defaults_only_where_papers_do() -> None:
    paper = load_config(PRESETS / "paper_la.yaml").method
    changed = {name for name, value in Config().model_dump().items() if paper[name] != value}
    assert changed == {"warm", "warm_most", "warm_batch", "clean_loss", "normalise", "clean_step"}

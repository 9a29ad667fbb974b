"""The answer that is exported is the method's own, of each method, and TorchScript gives it at every size."""

from __future__ import annotations

import pytest
import torch
from tests.toy import toy_method, toy_set, write_toy

from maskmend.data.plan import Plan
from maskmend.infer.export import Answer, noise, trace
from maskmend.methods import names


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    root = tmp_path_factory.mktemp("toy")
    return toy_set(write_toy(root / "data", 2, 3, cases=4), root / "run")[1]


@pytest.mark.parametrize("name", names())
def test_every_method_is_traced(name: str, plan: Plan) -> None:
    method = toy_method(name, plan).eval()
    traced, dynamic = trace(Answer(method), plan)
    (image,) = noise(plan, (2, (48, 32)))
    with torch.no_grad():
        torch.testing.assert_close(traced(image), method.predict(image), atol=1e-5, rtol=0)
    assert dynamic


def test_the_networks_that_answer_are_those_of_the_moment(plan: Plan) -> None:
    method = toy_method("confident_learning", plan).eval()
    (image,) = noise(plan, (1, (32, 32)))
    before = Answer(method)
    method.handed_over.fill_(True)
    after = Answer(method)
    with torch.no_grad():
        torch.testing.assert_close(after(image), method.predict(image))
        assert (before(image) - after(image)).abs().max() > 1e-3


def test_the_answer_leaves_the_method_alone(plan: Plan) -> None:
    method = toy_method("confident_learning", plan)
    before = list(method.state_dict())
    Answer(method)
    assert list(method.state_dict()) == before
    assert all(p.requires_grad for p in method.student.parameters())

"""Networks start from what fits of an earlier run or a file, and it is said what does not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from maskmend.errors import InputError
from maskmend.methods import find
from maskmend.networks import Network, NetworkConfig, build
from maskmend.runs.start import Start, answering, read_start

State = dict[str, Tensor]


def net(classes: int = 2, width: int = 4, channels: int = 1) -> Network:
    return build(NetworkConfig(name="unet", width=width, strides=(2, 2)), channels, classes, 2)


def equal(left: State, right: State) -> list[str]:
    return [name for name, value in left.items() if name in right and torch.equal(value, right[name])]


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[State], str]:
    def save(content: object, name: str = "weights.pt") -> str:
        torch.save(content, tmp_path / name)
        return str(tmp_path / name)

    return save


def test_a_state_dict_of_the_same_network(saved: Callable[[State], str]) -> None:
    old = net().state_dict()
    start = read_start(saved(old))
    new = start.into(net())
    assert equal(new.state_dict(), old) == list(old)
    (said,) = start.said()
    assert f"{len(old)} of {len(old)} tensors of the network are taken." in said


@pytest.mark.parametrize("wrap", ["state_dict", "model"])
@pytest.mark.parametrize("prefix", ["module.", "student.backbone."])
def test_names_may_begin_otherwise(saved: Callable[[object], str], wrap: str, prefix: str) -> None:
    old = net().state_dict()
    start = read_start(saved({"epoch": 3, wrap: {prefix + name: value for name, value in old.items()}}))
    assert equal(start.into(net()).state_dict(), old) == list(old)


@pytest.mark.parametrize("own_names", [True, False], ids=["down.0", "0"])
def test_an_encoder_alone(saved: Callable[[State], str], own_names: bool) -> None:
    old = net()
    state = {("down." if own_names else "") + name: value for name, value in old.down.state_dict().items()}
    start = read_start(saved(state | {"projection.weight": torch.zeros(3, 5)}))
    new = start.into(net())
    assert len(equal(new.down.state_dict(), old.down.state_dict())) == len(old.down.state_dict())
    (said,) = start.said()
    assert f"{len(state)} of {len(old.state_dict())} tensors" in said
    assert "1 there are not used" in said
    assert "projection.weight (3 × 5)" in said


def test_other_classes_begin_the_last_layer_anew(saved: Callable[[State], str]) -> None:
    old = net(classes=2).state_dict()
    start = read_start(saved(old))
    new = start.into(net(classes=4)).state_dict()
    assert [name for name in new if name not in equal(new, old)] == ["head.weight", "head.bias"]
    assert "the last layer starts anew (4 classes, not 2)" in start.said()[0]


def test_two_networks_of_one_differ_in_their_last_layer_and_a_teacher_does_not() -> None:
    old = net().state_dict()
    start = Start(Path("RUN"), [old])
    cls, settings = find("co_teaching")
    method = cls(lambda: start.into(net()), settings())
    assert equal(method.net1.state_dict(), old) == list(old)
    assert [name for name in old if name not in equal(method.net2.state_dict(), old)] == ["head.weight", "head.bias"]
    assert "2 networks start from 1" in start.said()[1]
    cls, settings = find("mean_teacher")
    start = Start(Path("RUN"), [old])
    method = cls(lambda: start.into(net()), settings())
    assert equal(method.teacher.state_dict(), old) == list(old)
    assert len(start.said()) == 1


def test_each_network_gets_its_own() -> None:
    old = [net().state_dict(), net().state_dict()]
    start = Start(Path("RUN"), old)
    assert [equal(start.into(net()).state_dict(), state) == list(state) for state in old] == [True, True]
    assert len(start.said()) == 1


def test_the_networks_that_answer() -> None:
    cls, settings = find("co_teaching")
    for inference, count in (("first", 1), ("mean", 2)):
        method = cls(net, settings(inference=inference))
        found = answering(method, 1, 2)
        assert found == [method.net1, method.net2][:count]
    cls, settings = find("strong_weak")
    assert len(answering(cls(partial(net), settings()), 1, 2)) == 1


def test_what_does_not_fit_names_both_sides(saved: Callable[[State], str]) -> None:
    with pytest.raises(InputError, match=r"no layer .* down.0.0.weight \(6 × 1 × 3 × 3\) .* \(4 × 1 × 3 × 3\)"):
        read_start(saved(net(width=6).state_dict())).into(net(width=4))


def test_files_that_are_no_weights(saved: Callable[[object], str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="more than tensors"):
        read_start(saved(nn.Linear(2, 2)))
    with pytest.raises(InputError, match="no weights by name"):
        read_start(saved([torch.zeros(3)]))
    odd = {"a": torch.eye(3).to_sparse(), "b": torch.zeros(2, device="meta")}
    with pytest.raises(InputError, match="no weights by name"):
        read_start(saved(odd))
    with pytest.raises(InputError, match="no numbers"):
        read_start(saved({"weight": torch.full((2, 2), float("nan"))}))
    with pytest.raises(InputError, match="does not exist"):
        read_start(str(tmp_path / "none.pt"))
    with pytest.raises(InputError, match=r"plan.json does not exist"):
        read_start(str(tmp_path))
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    pytest.importorskip("safetensors", reason="safetensors is not installed: pip install safetensors")
    with pytest.raises(InputError, match="cannot be read as weights"):
        read_start(str(tmp_path / "bad.safetensors"))


def test_code_in_a_file_is_never_run(saved: Callable[[object], str], tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    with pytest.raises(InputError, match="more than tensors"):
        read_start(saved({"weight": torch.zeros(2, 2), "more": Code()}))
    assert not (tmp_path / "ran").exists()


def test_a_volume_network_does_not_fit_pictures(saved: Callable[[State], str]) -> None:
    volumes = build(NetworkConfig(name="unet", width=4, strides=(2, 2)), 1, 2, 3).state_dict()
    with pytest.raises(InputError, match=r"fits no layer .* \(4 × 1 × 3 × 3 × 3\) .* \(4 × 1 × 3 × 3\)"):
        read_start(saved(volumes)).into(net())


def test_safetensors(tmp_path: Path) -> None:
    files = pytest.importorskip("safetensors.torch", reason="safetensors is not installed: pip install safetensors")
    old = net().state_dict()
    files.save_file(old, tmp_path / "weights.safetensors")
    assert equal(read_start(str(tmp_path / "weights.safetensors")).into(net()).state_dict(), old) == list(old)

"""Where the networks of a run start from: those of an earlier run, or a file of weights, as far as they fit."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..methods import Method
from ..networks import Network, total_stride
from ..texts import check_readable

State = Mapping[str, Tensor]
HEAD = "head."
CURE = "name a run folder of maskmend, or a state dict as .pt, .pth or .safetensors"


@dataclass
class Start:
    """The weights ``states`` of the networks of ``source``. The first network made gets the first, and so on, round and
    round; where one is given again, the last layer starts anew, so that two networks of a method differ. Without
    ``states``, all start anew."""

    source: Path
    states: Sequence[State]
    taken: list[Taken] = field(default_factory=list)

    def into(self, net: Network) -> Network:
        """``net`` with the weights that fit: of its name and shape, wherever the names begin.

        Raises:
            InputError: none fits.
        """
        if not self.states:
            return net
        made = len(self.taken)
        state, again = self.states[made % len(self.states)], made >= len(self.states)
        own, there = net.state_dict(), _named_as(state, net.state_dict())
        fits = {name: there[name] for name in own if name in there and there[name].shape == own[name].shape}
        if not any(value.ndim > 1 for value in fits.values()):
            family = type(net).__module__.rpartition(".")[2]
            raise InputError(
                f"{self.source} fits no layer of the network: it holds {_some(state)} and others, {family} has "
                f"{_some(own)} and others; set network.* as they were there, or {CURE}."
            )
        kept = {name: value for name, value in fits.items() if not (again and name.startswith(HEAD))}
        net.load_state_dict(kept, strict=False)
        self.taken.append(Taken(own, there, kept))
        return net

    def said(self) -> list[str]:
        """What was taken and what not, a sentence each."""
        if not self.taken:
            return []
        first, count = self.taken[0], len(self.taken)
        sentences = [f"Start from {self.source}: {first.sentence()}."]
        if count > len(self.states):
            sentences.append(
                f"The method's {count} networks start from {len(self.states)}; the last layer of those made again "
                "starts anew, so that they differ."
            )
        return sentences


@dataclass(frozen=True)
class Taken:
    """Of one network: its ``own`` weights, those ``there``, and those that were ``kept`` of them."""

    own: State
    there: State
    kept: State

    def sentence(self) -> str:
        anew = {name: value for name, value in self.own.items() if name not in self.kept}
        unused = {name: value for name, value in self.there.items() if name not in self.kept and name not in self.own}
        said = f"{len(self.kept)} of {len(self.own)} tensors of the network are taken"
        if anew and all(name.startswith(HEAD) for name in anew):
            name = next(iter(anew))
            classes = f" ({len(anew[name])} classes, not {len(self.there[name])})" if name in self.there else ""
            said += f", the last layer starts anew{classes}"
        elif anew:
            said += f", {len(anew)} start anew, such as {_some(anew)}"
        return said + (f"; {len(unused)} there are not used, such as {_some(unused)}" if unused else "")


def read_start(place: str | None) -> Start:
    """The weights at ``place``: a run folder (its best checkpoint), one checkpoint of a run, or a state dict. None: no
    weights.

    Raises:
        InputError: there is nothing, it holds no weights, more than tensors, or weights that are no numbers.
    """
    if place is None:
        return Start(Path(), ())
    source = Path(place)
    states = _of_run(source) if source.is_dir() or source.suffix == ".ckpt" else [_of_file(source)]
    if not all(bool(value.isfinite().all()) for state in states for value in state.values()):
        raise InputError(f"{source} holds weights that are no numbers (NaN, infinity); {CURE} of a sound training.")
    return Start(source, states)


def _of_run(source: Path) -> list[State]:
    """Of every network that the method of a run predicts with."""
    from .folder import load_run

    folder = source if source.is_dir() else source.parent
    best: Literal["best", "last"] = "best" if (folder / "best.ckpt").exists() else "last"
    which = best if source.is_dir() else source.stem
    if which not in ("best", "last"):
        raise InputError(f"{source}: of a run, best.ckpt and last.ckpt are whole; name one of them, or the folder.")
    method, plan, _ = load_run(folder, cast(Literal["best", "last"], which), torch.device("cpu"))
    return [net.state_dict() for net in answering(method, plan.channels, plan.dims)]


@torch.no_grad()
def answering(method: Method, channels: int, dims: int) -> list[Network]:
    """The networks that ``method`` predicts with, in their order."""
    found: dict[int, Network] = {}
    hooks = [
        module.register_forward_pre_hook(lambda net, _: found.update({id(net): net}))
        for module in method.modules()
        if isinstance(module, Network)
    ]
    method.eval().predict(torch.zeros(1, channels, *(2 * step for step in total_stride(method, dims))))
    for hook in hooks:
        hook.remove()
    return list(found.values())


def _of_file(path: Path) -> State:
    """The tensors in a file: of itself, or of the part of it that holds most."""
    if not path.exists():
        raise InputError(f"{path} does not exist; {CURE}.")
    check_readable(path)
    try:
        if path.suffix == ".safetensors":
            content: Any = _safetensors(path)
        else:
            with warnings.catch_warnings(action="ignore"):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as weights ({type(error).__name__}: damaged, or more than tensors in it); {CURE}."
        ) from None
    state: dict[str, Tensor] = max(_states(content), key=len, default={})
    if not state:
        raise InputError(f"{path} holds no weights by name; {CURE}.")
    return state


def _safetensors(path: Path) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise InputError(f"{path} needs another library: pip install safetensors.") from None
    return load_file(path)


def _states(content: Any, depth: int = 3) -> Iterator[dict[str, Tensor]]:
    """What ``content`` and the mappings within it hold of named tensors."""
    if isinstance(content, nn.Module):
        content = content.state_dict()
    if isinstance(content, Mapping) and depth:
        yield {name: value for name, value in content.items() if isinstance(name, str) and _plain(value)}
        for value in content.values():
            yield from _states(value, depth - 1)


def _plain(value: Any) -> bool:
    """Whether ``value`` is a tensor of numbers that a layer can take: not sparse, quantized or without memory."""
    return isinstance(value, Tensor) and value.layout is torch.strided and not (value.is_quantized or value.is_meta)


def _named_as(state: State, own: State) -> dict[str, Tensor]:
    """``state`` with the beginning of its names changed so that most fit: "module.", say, taken off, or one of ``own``
    put before them, as in a file of an encoder by itself."""
    strip = dict.fromkeys(["", *(".".join(name.split(".")[:n]) + "." for name in state for n in (1, 2, 3))])
    put = dict.fromkeys(["", *(name.split(".")[0] + "." for name in own)])
    renamed = (
        {add + name.removeprefix(off) if name.startswith(off) else name: value for name, value in state.items()}
        for add in put
        for off in strip
    )
    return max(renamed, key=lambda names: sum(n in own and own[n].shape == x.shape for n, x in names.items()))


def _some(state: State) -> str:
    """ "down.0.weight (8 × 1 × 3 × 3)"."""
    name, value = next(iter(state.items()))
    return f"{name} ({' × '.join(map(str, value.shape)) or 'one number'})"

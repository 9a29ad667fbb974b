"""One optimiser step, the same for every method: precision, ranks, clipping and learning rate live here."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from ..errors import InputError
from ..methods.base import Method
from ..types import Config, Progress
from .world import World

OPTIMIZERS = {
    name.lower(): cls
    for name, cls in vars(torch.optim).items()
    if isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer
}
"""Every optimiser of torch.optim, by its name in lower case."""


def _optimizer(name: str) -> str:
    if name.lower() not in OPTIMIZERS:
        near = get_close_matches(name.lower(), OPTIMIZERS, n=1) or [", ".join(sorted(OPTIMIZERS))]
        raise ValueError(f"torch.optim has no such optimiser; use {near[0]}")
    return name


class OptimConfig(Config):
    """The optimiser and its learning rate. Defaults are GSD-Net's 2D setting (Sec. 4.2)."""

    name: Annotated[str, AfterValidator(_optimizer)] = Field("sgd", description="any of torch.optim, by name")
    lr: float = Field(0.005, gt=0, description="learning rate at the start")
    momentum: float = Field(0.9, ge=0, lt=1, description="for SGD")
    nesterov: bool = False
    weight_decay: float = Field(1e-5, ge=0)
    clip: float | None = Field(None, gt=0, description="largest norm of the gradient")
    schedule: Literal["constant", "poly", "step", "exponential", "inverse"] = "constant"
    power: float = Field(0.9, gt=0, description="of poly: (1 - step / all steps) ^ power")
    every: int = Field(30, gt=0, description="of step: epochs between two drops; of inverse: every / (epoch + every)")
    gamma: float = Field(0.1, gt=0, le=1, description="factor of step at each drop, of exponential at each epoch")


def learning_rate(config: OptimConfig, at: Progress) -> float:
    """The learning rate of one step: a function of the place alone, so that a resumed run has it too."""
    factor = 1.0
    if config.schedule == "poly":
        factor = (1 - at.step / (at.epochs * at.steps)) ** config.power
    elif config.schedule == "step":
        factor = config.gamma ** (at.epoch // config.every)
    elif config.schedule == "exponential":
        factor = config.gamma**at.epoch
    elif config.schedule == "inverse":
        factor = config.every / (at.epoch + config.every)
    return config.lr * factor


def make_optimizer(config: OptimConfig, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser that ``config.name`` names, given those of our settings that it knows."""
    cls: Any = OPTIMIZERS[config.name.lower()]
    accepted = inspect.signature(cls).parameters
    options = {name: getattr(config, name) for name in ("lr", "momentum", "nesterov", "weight_decay")}
    return cls(parameters, **{name: value for name, value in options.items() if name in accepted})  # type: ignore[no-any-return]


def check_optimizer(config: OptimConfig, groups: Mapping[str, Sequence[Tensor]]) -> None:
    """Try a step of the optimiser on a small parameter of every kind that a method has.

    Raises:
        InputError: its settings do not go together, or it is not made for such parameters.
    """
    for axes in {parameter.ndim for group in groups.values() for parameter in group}:
        parameter = nn.Parameter(torch.ones((2,) * axes))
        parameter.grad = torch.ones_like(parameter)
        try:
            make_optimizer(config, [parameter]).step()
        except Exception as error:  # each optimiser has ways of its own to refuse
            said = str(error).splitlines()[0].rstrip(".")
            raise InputError(
                f"optim.name={config.name} cannot take a step with these settings and weights of {axes} axes ({said}); "
                "correct the settings of optim, or take another, e.g. adamw."
            ) from None


class Updater:
    """The engine's ``Update``: no gradients, backward, average over ranks, the method's own change, clip, step."""

    def __init__(self, method: Method, config: OptimConfig, world: World, scaled: bool = False) -> None:
        self.config, self.world, self.rate, self.method = config, world, config.lr, method
        self.groups = method.parameter_groups()
        self.optimizers = {name: make_optimizer(config, group) for name, group in self.groups.items()}
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=scaled)

    def begin(self, at: Progress) -> None:
        """Set the learning rate of the step to come."""
        self.rate = learning_rate(self.config, at)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = self.rate

    def __call__(self, loss: Tensor, group: str = "main") -> None:
        parameters, optimizer = self.groups[group], self.optimizers[group]
        for p in parameters:
            p.grad = None
        with torch.autocast(self.world.device.type, enabled=False):
            self.scaler.scale(loss).backward(inputs=parameters)
        if self.world.size > 1:
            for p in parameters:
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
            self.world.average_(p.grad for p in parameters if p.grad is not None)
        self.scaler.unscale_(optimizer)
        self.method.after_backward(group)
        if self.config.clip is not None:
            nn.utils.clip_grad_norm_(parameters, self.config.clip)
        self.scaler.step(optimizer)
        self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        states = {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        return {"optimizers": states, "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])

"""What a network costs: parameters, multiply-adds, bytes, and seconds on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..networks.inference import prepare

ROUNDS, LEAST = 15, 5  # of which the fastest counts; a round is not begun after ``LONG`` seconds, but for the least
LONG = 1.0
WARM_UP = 2  # rounds that choose kernels and warm caches, and do not count
BATCHES = (1, 64)


@dataclass(frozen=True)
class Cost:
    """``multiply_adds`` are those of convolutions, matrix products and attention for one image; ``bytes`` of a file."""

    parameters: int
    multiply_adds: int
    bytes: int

    def shares(self, whole: Cost) -> dict[str, float]:
        """Of the whole network's."""
        mine, theirs = asdict(self), asdict(whole)
        return {name: mine[name] / theirs[name] for name in mine}


@torch.no_grad()
def cost_of(module: nn.Module, example: Tensor) -> Cost:
    """Counted for one image of ``example``; the file is one of safetensors with the network's state."""
    with FlopCounterMode(display=False) as counted:
        module(example[:1])
    state = {name: tensor.detach().clone().contiguous() for name, tensor in module.state_dict().items()}
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return Cost(parameters, counted.get_total_flops() // 2, len(safetensors.torch.save(state)))


def latencies(modules: Mapping[str, nn.Module], example: Tensor) -> dict[str, dict[str, float]]:
    """Milliseconds of a pass of each module on the CPU, by batch size: the least of passes that take turns in one run.

    Batch norms are folded and memory is channels-last, as ddeep runs any network.
    """
    ready = {name: prepare(module, [], torch.device("cpu"), example) for name, module in modules.items()}
    found: dict[str, dict[str, float]] = {name: {} for name in modules}
    for batch in BATCHES:
        images = example[:1].expand(batch, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        for name, seconds in least_seconds(ready, images).items():
            found[name][str(batch)] = 1e3 * seconds
    return found


def least_seconds(modules: Mapping[str, nn.Module], images: Tensor, rounds: int = ROUNDS) -> dict[str, float]:
    """Seconds of one forward pass of each module, the least of ``rounds`` in which they take turns, fewer of long ones.

    What takes longer than that is other work of the machine. A median is no help against it: where the turns and the
    time slices of a busy machine are of like length, one module is interrupted in nearly every round, the other never.
    """
    found = dict.fromkeys(modules, float("inf"))
    began = time.perf_counter()
    with torch.inference_mode():
        for number in range(WARM_UP + rounds):
            if number >= WARM_UP + LEAST and time.perf_counter() - began > LONG:
                break
            for name, module in modules.items():
                start = time.perf_counter()
                module(images)
                taken = time.perf_counter() - start
                if number >= WARM_UP:
                    found[name] = min(found[name], taken)
    return found

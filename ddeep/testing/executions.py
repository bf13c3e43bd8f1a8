"""What executions promise."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import ConfigError, PluginError
from ..evidence.execution import Work
from ..evidence.passes import Pass, run_here
from ..experiments.opening import build_subject
from ..experiments.settings import SubjectConfig
from ..networks.device import CPU
from ..registry.specs import ExecutionSpec, resolve
from ..statistics.basic import ClassSums, Correct
from ..statistics.top_images import TopImages
from .contract import Promise, Unchecked, broken_unless


def _gathers_what_one_process_does(spec: ExecutionSpec, _data_dir: Path) -> None:
    try:
        gather = resolve(spec.gather)
    except PluginError as error:
        raise Unchecked(str(error)) from None
    subject = build_subject(SubjectConfig(model="resnet20", dataset="digits", device="cpu", batch_size=64), CPU)
    (layer,) = subject.layers()
    wanted = Pass("test", {layer: [ClassSums(), Correct(), TopImages(3)]}, frozenset([layer]))
    alone = run_here(subject, wanted)[layer]
    try:
        found = gather(Work(subject, wanted))[layer]
    except (ImportError, ConfigError) as error:
        raise Unchecked(f"{spec.name!r} cannot run here: {error}") from None
    fix = "return what `work.merged` makes of the results of every part, each once"
    broken_unless(found.responses is not None, "It returned no responses", fix)
    torch.testing.assert_close(found.responses, alone.responses, rtol=1e-5, atol=1e-6)
    for statistic in (Correct(), *found.statistics):
        for name, tensor in alone[statistic].state().items():
            other = found[statistic].state()[name]
            same = torch.allclose(other.double(), tensor.double(), rtol=1e-5, atol=1e-6)
            broken_unless(same, f"{name} of {statistic!r} is another than one process gathers", fix)


PROMISES = [Promise("it gathers what one process gathers", _gathers_what_one_process_does)]

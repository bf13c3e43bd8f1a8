"""The built-in execution."""

from __future__ import annotations

from collections.abc import Iterator

from ddeep.plugin import ExecutionSpec, hookimpl


@hookimpl
def ddeep_executions() -> Iterator[ExecutionSpec]:
    yield ExecutionSpec(
        "torchrun",
        gather=f"{__name__}.torchrun:gather",
        summary="the processes that torchrun or accelerate launch has started; without any, this one",
        source="torch.distributed, https://pytorch.org/docs/stable/distributed.html",
    )

"""An execution of ddeep on Ray."""

from __future__ import annotations

from collections.abc import Iterator

from ddeep import ExecutionSpec, hookimpl


@hookimpl
def ddeep_executions() -> Iterator[ExecutionSpec]:
    yield ExecutionSpec(
        "ray",
        gather="ddeep_ray.execution:gather",
        summary="actors of a Ray cluster: that of RAY_ADDRESS, or one of this machine",
        source="Moritz et al., Ray: a distributed framework for emerging AI applications, OSDI 2018",
    )

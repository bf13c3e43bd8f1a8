"""Parts of a pass by Ray Data: actors that hold the network map part numbers to evidence, which the driver merges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ddeep.plugin import ConfigError, Evidence, Layer, Work, Worker


class Actor:
    """Holds a network for as long as it lives."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        return {"part": [self._worker.gather(int(number)) for number in batch["id"]]}


def gather(work: Work) -> dict[Layer, Evidence]:
    """The evidence by layer. Raises ConfigError where Ray is not installed."""
    try:
        import ray
    except ImportError:
        raise ConfigError("--execution ray needs Ray: pip install 'ddeep[ray]'.") from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    return work.merged(_results(ray, work.worker()))


def _results(ray: Any, worker: Worker) -> Iterator[bytes]:
    gpus, cpus = (int(ray.cluster_resources().get(name, 0)) for name in ("GPU", "CPU"))
    actors = max(1, min(gpus or cpus, worker.of))
    # Not range(), whose tasks would wait for a processor while actors hold all.
    numbers = ray.data.from_items([{"id": number} for number in range(worker.of)], override_num_blocks=worker.of)
    mapped = numbers.map_batches(
        Actor,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=actors),
        fn_constructor_args=(worker,),
        **({"num_gpus": 1} if gpus else {"num_cpus": 1}),
    )
    for row in mapped.iter_rows():
        yield row["part"]

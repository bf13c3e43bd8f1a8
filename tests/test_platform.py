"""Memory that a pass has freed is there for the next batch, not fetched from the system a page at a time."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from tests.support.waiting import PATIENCE

SCRIPT = textwrap.dedent("""
    import json, resource, sys
    import torch
    from ddeep._platform import keep_freed_memory
    from ddeep_plugins_builtin.models.cifar_resnet import resnet20

    kept = keep_freed_memory() if sys.argv[1] == "kept" else None
    module, images = resnet20().eval().to(memory_format=torch.channels_last), torch.rand(256, 3, 32, 32)

    def pages():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        with torch.no_grad():
            module(images)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    for _ in range(3):  # the first batches have to fetch what they need
        pages()
    print(json.dumps([kept, sum(pages() for _ in range(4))]))
""")


def pages(how: str) -> tuple[bool | None, int]:
    """Whether memory is kept, and pages fetched for four batches, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    kept, count = json.loads(done.stdout)
    return kept, count


def test_batches_after_the_first_hardly_fetch_memory() -> None:
    kept, count = pages("kept")
    if not kept:
        pytest.skip("the C library is not glibc")
    _, plain = pages("plain")
    assert count < 0.1 * plain

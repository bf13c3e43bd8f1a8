"""Training by several real processes: every image once an epoch, the global batch of one process, the same end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.support.helpers import Outcome

IMAGES, BATCH, EPOCHS = 61, 12, 3  # five whole batches, one image left out of each epoch
# A network without batch norm: the mean of the parts' gradients is the gradient of the whole batch.
SCRIPT = textwrap.dedent(f"""
    import json, os, sys
    from pathlib import Path
    import torch
    import ddeep
    from torch import nn
    from ddeep.data.images import TensorImages
    from ddeep.data.preprocessing import Preprocessing
    from ddeep.training.recipe import Recipe
    from ddeep.training.loop import train
    from safetensors.torch import save_file

    class Noting(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3 * 16, 3)
            self.seen = []
        def forward(self, images):
            if self.training:
                self.seen.append((images[:, 0, 0, 0] * 255).round().long().tolist())
            return self.head(images.flatten(1))

    torch.manual_seed(0)
    module = Noting()
    tags = torch.arange({IMAGES}, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 4, 4, 3)
    images = TensorImages.of(tags, torch.arange({IMAGES}) % 3, ["a", "b", "c"])
    recipe = Recipe(epochs={EPOCHS}, lr=0.1, batch_size={BATCH}, crop_padding=0, flip=False)
    rank, out = int(os.environ.get("RANK", 0)), Path(sys.argv[1])
    if len(sys.argv) > 2 and rank == 1:
        def fail(self, images):
            raise ValueError("rank 1 cannot go on")
        Noting.forward = fail
    train(module, images, Preprocessing((0.0,) * 3, (1.0,) * 3, 4, 4), recipe, device="cpu")
    (out / f"seen-{{rank}}.json").write_text(json.dumps(module.seen))
    if rank == 0:
        save_file(module.head.state_dict(), out / "head.safetensors")
    # A gloo thread that still lets go of the last tensor while the interpreter is taken down aborts the process
    # (pytorch/pytorch#179291). A command trains, then judges: its threads have long finished. This script has not.
    sys.stdout.flush()
    os._exit(0)
""")


def launch(processes: int, out: Path, words: list[str], *, seconds: float = 300) -> Outcome:
    """torchrun, or one process alone."""
    out.mkdir(exist_ok=True)
    start = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)] if processes > 1 else []
    done = subprocess.run(
        [sys.executable, *start, *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", "DDEEP_CACHE": str(out / "cache"), "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        encoding="utf-8",
        timeout=seconds,
        cwd=out,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "train_noting.py"
    path.write_text(SCRIPT)
    return str(path)


def test_each_image_once_an_epoch_in_the_same_global_batches(script: str, tmp_path: Path) -> None:
    steps: dict[int, list[list[int]]] = {}
    for processes in (1, 2, 3):
        out = tmp_path / str(processes)
        done = launch(processes, out, [script, str(out)])
        assert done.status == 0, done.err
        parts = [json.loads((out / f"seen-{rank}.json").read_text()) for rank in range(processes)]
        assert {len(part) for own in parts for part in own} == {BATCH // processes}
        steps[processes] = [sorted(index for own in step for index in own) for step in zip(*parts, strict=True)]
    per_epoch = IMAGES // BATCH
    assert len(steps[1]) == EPOCHS * per_epoch
    assert steps[1] == steps[2] == steps[3]
    for epoch in range(EPOCHS):
        seen = [index for step in steps[1][epoch * per_epoch : (epoch + 1) * per_epoch] for index in step]
        assert len(seen) == len(set(seen)) == per_epoch * BATCH
    one, *others = (load_file(tmp_path / str(processes) / "head.safetensors") for processes in (1, 2, 3))
    for other in others:
        for name, tensor in one.items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-4, atol=1e-6)


def test_a_process_that_fails_ends_the_others_with_its_error(script: str, tmp_path: Path) -> None:
    done = launch(2, tmp_path / "out", [script, str(tmp_path / "out"), "fail"], seconds=60)  # most of it start-up
    assert done.status != 0
    assert "ValueError: rank 1 cannot go on" in done.err
    assert not (tmp_path / "out" / "head.safetensors").exists()


def test_two_processes_finetune_as_well_as_one_on_the_digits(tmp_path: Path) -> None:
    """Through the decomposed head and through the dense one; the batch norms of two processes see half batches each."""
    run = ["-m", "ddeep", "run", "--model", "resnet20", "--strategy", "paper", "--device", "cpu", "--no-refit"]
    assert launch(1, tmp_path, [*run, "--out", "run"]).status == 0
    dense = ["--dense", "--model", "resnet20", "--dataset", "digits"]
    found: dict[str, list[float]] = {"decomposed": [], "dense": []}
    for processes in (1, 2):
        for name, own in (("decomposed", ["run"]), ("dense", dense)):
            out = tmp_path / f"{name}-{processes}"
            words = ["--epochs", "1", "--batch-size", "128", "--device", "cpu", "--out", str(out)]
            done = launch(processes, tmp_path, ["-m", "ddeep", "finetune", *own, *words])
            assert done.status == 0, done.err
            document = json.loads((out / "run.json").read_text())
            assert not (document["finetune"] if name == "decomposed" else document)["recipe"]["flip"]  # digits
            found[name].append(document["accuracy"]["finetuned" if name == "decomposed" else "test"])
    for name, (one, two) in found.items():
        assert one > 95, name
        assert two == pytest.approx(one, abs=0.5), name

"""Documents as this version writes them, for later versions to read.

python -m tests.known.documents.write     writes the folder of this version beside this file: once, when it is released
"""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path

import torch
from safetensors.torch import save_file

import ddeep
from ddeep.files.json import write_json
from tests.support.documents import read_document

FOLDER = Path(__file__).parent


def write(folder: Path) -> None:
    """A run, with its selection, and a comparison, of responses of three classes that three filters tell apart."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    responses = torch.rand(60, 6, generator=generator) + 2 * torch.nn.functional.one_hot(labels, 6)
    weight = torch.eye(3, 6) * 2
    splits = {"train": slice(0, 45), "test": slice(45, 60)}
    tensors = {f"{split}_responses": responses[rows] for split, rows in splits.items()}
    tensors |= {f"{split}_labels": labels[rows] for split, rows in splits.items()}
    tensors |= {"weight": weight, "bias": torch.zeros(3)}
    with chdir(folder):  # documents keep paths as they were given
        save_file(tensors, file := Path("responses.safetensors"))
        ddeep.run(responses=file, strategy="paper", k=2, out=Path("run"))
        ddeep.compare(responses=file, strategies=["paper", "contribution"], k=[1, 2], out=Path("comparison"))
        document = Path("comparison/comparison.json")
        write_json(document, read_document(document))  # it no more vouches for the figures, which are not kept
        for path in [file, *Path().rglob("*.png"), *Path().rglob("*.svg"), *Path().rglob("*.csv")]:
            path.unlink()


if __name__ == "__main__":
    write(FOLDER / ddeep.__version__)

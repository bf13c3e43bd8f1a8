"""The model card beside an exported network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LOAD = {
    "safetensors": """```python
import safetensors.torch
model = ...  # {model}, with {outputs} outputs, as its own library builds it
model.load_state_dict(safetensors.torch.load_file("{file}"), strict=True)
```""",
    "pt2": """```python
import torch
model = torch.export.load("{file}").module()
logits = model(images)
```""",
    "onnx": """```python
import onnxruntime
session = onnxruntime.InferenceSession("{file}")
logits = session.run(None, {{"images": images}})[0]
```""",
}


def model_card(facts: Mapping[str, Any], file: Path) -> str:
    """Markdown: what the network is, how to load it, what it takes and gives, and what was measured."""
    kind, preprocessing = str(facts["format"]), facts["preprocessing"]
    classes = facts["classes"]
    load = _LOAD[kind].format(model=facts["model"], outputs=len(classes), file=file.name)
    pixels = facts["input"] == "pixels"
    takes = (
        f"uint8 pixels `(N, {preprocessing['size']}, {preprocessing['size']}, 3)`, RGB, 0 to 255; it normalises them."
        if pixels
        else f"float32 `(N, 3, {preprocessing['size']}, {preprocessing['size']})`, RGB: (x / 255 - mean) / std with "
        f"mean {preprocessing['mean']} and std {preprocessing['std']}."
    )
    figures = "\n".join(f"| {name} | {value:.2f} |" for name, value in facts["accuracy"].items() if value is not None)
    hashes = "\n".join(f"- {name}: `{value}`" for name, value in facts["hashes"].items())
    sides = "both sides" if preprocessing.get("squash") else "the shorter side"
    return f"""# {facts["model"]} on {facts["dataset"]}, decomposed

Every class sees only its own filters of `{facts["layer"]}`, chosen by `{facts["strategy"]}` (k = {facts["k"]}).

## Load

{load}

## Input and output

Images: {sides} resized to {preprocessing["resize"]} ({preprocessing["interpolation"]}), the central
{preprocessing["size"]} × {preprocessing["size"]} cropped. The network takes {takes}

It gives {len(classes)} logits, in this order: {", ".join(classes)}.

## Accuracy, percent of the test split

| network | accuracy |
|---|---:|
{figures}

This file holds the last of them that has a number.

## Provenance

{hashes}
- ddeep {facts["versions"]["ddeep"]}, torch {facts["versions"]["torch"]}
"""

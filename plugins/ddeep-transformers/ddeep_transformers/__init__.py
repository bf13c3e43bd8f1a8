"""The image classifiers of Hugging Face's transformers: a family of models for ddeep."""

from __future__ import annotations

from collections.abc import Iterator

from ddeep import ModelFamily, hookimpl


@hookimpl
def ddeep_models() -> Iterator[ModelFamily]:
    yield ModelFamily(
        "hf",
        summary="any image classifier of transformers: `hf/<folder>`, or `hf/<owner>/<name>` of the Hugging Face hub",
        source="Wolf et al., Transformers, EMNLP 2020 (Apache-2.0)",
        names=f"{__name__}.folders:names",
        resolve=f"{__name__}.classifiers:spec",
    )

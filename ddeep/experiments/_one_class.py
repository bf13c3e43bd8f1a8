"""The proof sheet of a cut to one class: how well its one logit tells the class from the rest, before and after."""

from __future__ import annotations

from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..data.images import Split
from ..exports.plan import CutPlan
from ..heads.paired import accuracy_intervals, compare_paired
from ._shrink import random_cuts
from ._whole import Whole, logits_of


def prove_one(whole: Whole, plan: CutPlan, small: nn.Module, before_training: nn.Module, seed: int) -> dict[str, Any]:
    """The class against the rest, by the run's logit and by the cut network's, on the test split.

    Each logit's threshold is the one that is best on the train images. ``balanced_accuracy`` is the mean of the class's
    recall and the rest's, ``area`` that under the ROC curve; ``called`` says how many test images of every removed
    class are above the cut's threshold. The difference is in test images told rightly, class and rest together. Random
    cuts of the same size are judged by their areas.
    """
    said: dict[str, Bool[Tensor, " n"]] = {}
    found: dict[str, Any] = {}
    truth = _is_it(whole, "test")
    for name, module, column in (("run", whole.run, whole.outputs[0]), ("cut", small, 0)):
        threshold = best_threshold(_logits(whole, module, "train", column), _is_it(whole, "train"))
        logits = _logits(whole, module, "test", column)
        said[name] = logits > threshold
        recall, rest = _share(said[name][truth]), _share(~said[name][~truth])
        found[name] = {
            "threshold": threshold,
            "recall": recall,
            "rest_recall": rest,
            "balanced_accuracy": (recall["percent"] + rest["percent"]) / 2,
            "area": area(logits, truth),
        }
    labels = whole.subject.labels("test")
    found["called"] = {
        name: {"images": int((labels == c).sum()), "called": int(said["cut"][labels == c].sum())}
        for c, name in enumerate(whole.subject.classes)
        if c not in whole.outputs and (labels == c).any()
    }
    found["cut_against_run"] = compare_paired(said["cut"] == truth, said["run"] == truth, seed=seed)._asdict()
    if plan.zeroed:
        mine = area(_logits(whole, before_training, "test", 0), truth)
        others = [area(_logits(whole, module, "test", 0), truth) for module in random_cuts(whole, plan, seed)]
        as_good = sum(other >= mine for other in others)
        found["random"] = {
            "cut_before_finetuning": mine,
            "random": others,
            "p_value": (1 + as_good) / (1 + len(others)),
        }
    return found


def best_threshold(logits: Float[Tensor, " n"], truth: Bool[Tensor, " n"]) -> float:
    """Halfway between the two neighbours that part the classes best (balanced accuracy)."""
    values, order = logits.double().sort()
    mine = truth[order].double()
    below = mine.cumsum(0) / mine.sum()
    rest_below = (1 - mine).cumsum(0) / (1 - mine).sum()
    best = int((rest_below - below)[:-1].argmax())
    return float((values[best] + values[best + 1]) / 2)


def area(logits: Float[Tensor, " n"], truth: Bool[Tensor, " n"]) -> float:
    """Under the ROC curve: how often an image of the class has a larger logit than one of the rest."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth.numpy(), logits.numpy()))


def _is_it(whole: Whole, split: Split) -> Bool[Tensor, " n"]:
    return whole.subject.labels(split) == whole.outputs[0]


def _logits(whole: Whole, module: nn.Module, split: Split, column: int) -> Float[Tensor, " n"]:
    return logits_of(module, whole.subject.images[split], whole)[:, column]


def _share(right: Bool[Tensor, " n"]) -> dict[str, Any]:
    """In percent, with its interval."""
    interval = accuracy_intervals(right.sum()[None], len(right))[0].tolist()
    return {"percent": 100 * float(right.double().mean()), "interval": interval}

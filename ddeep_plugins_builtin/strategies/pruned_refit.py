"""ddeep's own strategy: k filters per class chosen jointly, so that the decomposed head as a whole fits best."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ddeep.plugin import Context, Evidence, K, Selection

from .joint.fit import EXACT, SparseHead, fit
from .joint.memory import check_memory, sampled
from .joint.objective import Objective
from .joint.omp import matching_pursuit
from .joint.search import search, widest
from .joint.standardised import Standardised, gram_matrix, label_moments, standardise
from .joint.teacher import teacher_moments

RIDGE = 1e-3  # of the Gram matrix of standardised responses
SELECTING, FITTING = 0.5, 0.1  # penalty of the search and of the head, in units of 1 / images per class
TAUGHT = 0.5  # share of the teacher in the head's targets
FEW, MANY = 5, 20  # in the search's, 0 up to the first of these k, the same from the second on


def select_all(evidence: Evidence, ks: Sequence[K], context: Context) -> dict[K, Selection]:
    """By |W_cj|·std_j of the sparse head found, which is the learned head; filters that it does not use score 0.

    The head minimises mean cross-entropy + λ/2·Σw² over w_cj = W_cj·std_j, the weights of standardised responses,
    biases free, on the train split's responses, every class having k weights:

    1. start from the filters that least squares takes in one after the other (``gram``): the first k of them, and again
       the first 2k, and the first 16, pruned to k (optimal brain surgeon: Hassibi & Stork, NIPS 1992), each class by
       its own block of the Hessian;
    2. swap filters, one selected for one that is not, in all classes at once: the class's quadratic model proposes, a
       fit of all classes decides;
    3. widen the best of them to 2k filters, prune and swap again, while that lowers the loss.

    λ is 0.5 / (images per class) while filters are chosen and 0.1 / (images per class) for the head; the targets are
    the labels, mixed with what ridge regression on the other images predicts for each, which makes up half of the
    head's targets, and of the search's nothing up to k = 5, half from k = 20 on and in between in proportion.

    Responses are copied once: memory is 4·N·(K + 4P) + 8·P·K·(max(16, 2k) + 8) + 24·K² bytes for P classes with images,
    N of them; a random sample of images is taken where N·(K + 4P) would exceed 2³⁰. Time grows with N·K² (once),
    N·P·K (a round of swaps) and N·P·k (a step of a fit).
    """
    present = int(evidence.present.sum())
    responses, labels = sampled(*evidence.cached_responses(), present, context.generator())
    check_memory(*responses.shape, present, widest(evidence.filters, max(map(int, ks))), responses.device)
    data = standardise(responses, labels)
    if data.classes < 2 or not data.varying:
        nothing = torch.zeros(evidence.classes, evidence.filters, dtype=torch.float64)
        return {k: Selection.top(nothing, int(k), present=evidence.present) for k in ks}
    heads = joint_heads(data, [min(int(k), data.varying) for k in ks])
    return {k: selection_of(head, data, evidence, int(k), context) for k, head in zip(ks, heads, strict=True)}


def joint_heads(data: Standardised, ks: Sequence[int]) -> list[SparseHead]:
    """The best heads found with so many filters a class."""
    per_class, filters = len(data.labels) / data.classes, len(data.columns) - 1
    gram, truth = gram_matrix(data), label_moments(data)
    taught = teacher_moments(data, gram)
    gram.diagonal().add_(RIDGE)
    path = matching_pursuit(gram, truth[:, :-1].contiguous(), max(widest(filters, k) for k in ks))
    final = Objective(data.columns, torch.lerp(truth, taught, TAUGHT), FITTING / per_class)
    found = []
    for k in ks:
        share = TAUGHT * min(max((k - FEW) / (MANY - FEW), 0.0), 1.0)
        moments = torch.lerp(truth, taught, share)
        head = search(Objective(data.columns, moments, SELECTING / per_class), path, k)
        found.append(fit(final, head.support, head.weight, EXACT))
    return found


def selection_of(head: SparseHead, data: Standardised, evidence: Evidence, k: int, context: Context) -> Selection:
    """Every class's filters by |weight|, and the head for responses as they are that it is for standardised ones."""
    weights = torch.zeros_like(head.objective.moments).scatter(1, head.support, head.weight)
    table = torch.zeros(evidence.classes, evidence.filters + 1, dtype=torch.float64)
    table[data.present.cpu()] = weights.cpu()
    chosen = Selection.top(table[:, :-1].abs(), k, present=evidence.present)
    if context.head is None:
        return chosen
    mean, deviation = data.mean.cpu(), data.deviation.cpu()
    weight = torch.where(deviation > 0, table[:, :-1] / deviation, 0.0)
    return chosen.with_head(weight, table[:, -1] - weight @ mean)

"""The decomposed head in its possible forms, forward, and forward with backward: which is the fastest exact one?

``masked``: weight · mask, then a dense product. ``gathered``: each class's own responses, (N, C, k), times its weights.
``embedding bag``: classes as bags over the table of transposed responses. ``sparse``: responses times a CSC
matrix of the weights (forward only). ``ddeep`` is ``DecomposedLinear`` itself, which should be as fast as the best;
with gradients it is the masked form, as a step's time is that of the network before the head.
All forms are called as modules, as a network does, and checked against float64 to 1e-5 of the largest logit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddeep.heads.decomposed import DecomposedLinear

from ._common import Report, Settings, alternate, repeated

SIZES = ((10, 64), (1000, 2048))
KS = (5, 64)
BATCHES = (256, 2048)
LARGEST_GATHERED = 2**28  # numbers of (N, C, k) that are still tried

Form = Callable[[Tensor], Tensor]


class Head(nn.Module):
    """A form as the head of a network."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.form = form

    def forward(self, responses: Tensor) -> Tensor:
        return self.form(responses)


def measure(settings: Settings) -> Report:
    """Milliseconds of every form, and how close ``DecomposedLinear`` comes to the fastest."""
    report = Report({"sizes (C, K)": SIZES, "k": KS, "batches": BATCHES})
    sizes, batches = (SIZES[:1], (32,)) if settings.quick else (SIZES, BATCHES)
    worst: dict[str, float] = {"forward": 0.0, "backward": 0.0}
    for classes, filters in sizes:
        for k in KS:
            for images in batches:
                case = f"{classes}·{filters}, k={k}, N={images}"
                for kind, costs in _case(classes, filters, k, images, settings).items():
                    report.costs |= {f"{case}, {kind}: {name}": rows for name, rows in costs.items()}
                    times = {name: report.seconds(f"{case}, {kind}: {name}") for name in costs}
                    own = times.pop("ddeep")
                    best = min(times, key=times.__getitem__)
                    worst[kind] = max(worst[kind], own / times[best])
                    report.details.setdefault("fastest", {})[f"{case}, {kind}"] = best
    report.add("DecomposedLinear / fastest form, worst case, forward", worst["forward"], at_most=1.2)
    report.add("DecomposedLinear / fastest form, worst case, with backward", worst["backward"])
    for name in [name for name in report.costs if "backward" not in name and "N=256" in name]:
        report.add(name.replace(", forward", ""), 1000 * report.seconds(name), "ms")
    return report


def _case(classes: int, filters: int, k: int, images: int, settings: Settings):  # type: ignore[no-untyped-def]
    """The costs of every form, by kind of step."""
    source = torch.Generator().manual_seed(0)
    weight = torch.randn(classes, filters, generator=source)
    bias = torch.randn(classes, generator=source)
    own = torch.rand(classes, filters, generator=source).argsort(1)[:, :k].sort(1).values
    mask = torch.zeros(classes, filters, dtype=torch.bool).scatter_(1, own, value=True)
    responses = torch.rand(images, filters, generator=source)
    exact = F.linear(responses.double(), (weight * mask).double(), bias.double())
    # A network calls a module, whatever form that takes: all are called as one.
    forms: dict[str, nn.Module] = {name: Head(form) for name, form in _forms(weight, bias, mask, own, images).items()}
    forms["ddeep"] = DecomposedLinear(weight, bias, mask)
    for name, form in forms.items():
        error = (form(responses) - exact).abs().max() / exact.abs().max()
        assert error < 1e-5, f"{name} is not exact: {error}"
    rounds, least = settings.sized(5, 1), 0.02 if settings.quick else 0.05

    def forward(form: Form) -> None:
        with torch.no_grad():
            form(responses)

    def backward(form: Form) -> None:
        form(responses.requires_grad_()).sum().backward()

    found = {"forward": alternate({n: repeated(partial(forward, f), least) for n, f in forms.items()}, rounds)}
    trainable = {name: form for name, form in forms.items() if name != "sparse"}
    found["backward"] = alternate({n: repeated(partial(backward, f), least) for n, f in trainable.items()}, rounds)
    return found


def _forms(weight: Tensor, bias: Tensor, mask: Tensor, own: Tensor, images: int) -> dict[str, Form]:
    trained = weight.clone().requires_grad_()
    compressed = mask.float().to_sparse_csr()
    ends, columns = compressed.crow_indices(), compressed.col_indices()
    places = mask.flatten().nonzero()[:, 0]

    def sparse(r: Tensor) -> Tensor:
        values = trained.detach().take(places)  # anew, as the other forms do: weights change
        selected = torch.sparse_csc_tensor(ends, columns, values, weight.T.shape, check_invariants=False)
        return torch.addmm(bias, r, selected)

    forms: dict[str, Form] = {
        "masked": lambda r: F.linear(r, trained * mask, bias),
        "embedding bag": lambda r: (
            F.embedding_bag(own, r.T, per_sample_weights=trained.gather(1, own), mode="sum").T + bias
        ),
        "sparse": sparse,
    }
    if images * own.numel() <= LARGEST_GATHERED:
        forms["gathered"] = lambda r: torch.einsum("nck,ck->nc", r[:, own], trained.gather(1, own)) + bias
    return forms

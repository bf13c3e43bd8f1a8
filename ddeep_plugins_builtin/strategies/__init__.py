"""The built-in strategies. Each is a module with ``needs`` and ``select``; only its spec is read until it is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ddeep.plugin import StrategySpec, hookimpl

_PAPER = "Badola et al., Decomposing the deep: finding class-specific filters in deep CNNs, NCAA 35(18), 2023"
_MORCOS = "Morcos et al., On the importance of single directions for generalization, ICLR 2018"
_APOZ = "Hu et al., Network Trimming, arXiv 1607.03250, equation 1"
_TFIDF = "Wang et al., Federated unlearning via class-discriminative pruning, WWW 2022"
_LOGIT = "the logit z_c = b_c + Σ_j W_cj r_j, term by term"
_MOLCHANOV = "Molchanov et al., Pruning CNNs for resource efficient inference, ICLR 2017, equation 8"
_THEIS = "Theis et al., Faster gaze prediction with dense networks and Fisher pruning, arXiv 1801.05787, equation 9"


def _strategy(
    name: str, summary: str, source: str, *, needs: bool = True, all_k: bool = False, **flags: Any
) -> StrategySpec:
    module = f"ddeep_plugins_builtin.strategies.{name.replace('-', '_')}"
    return StrategySpec(
        name,
        summary=summary,
        source=source,
        needs=f"{module}:needs" if needs else None,
        select=None if all_k else f"{module}:select",
        select_all=f"{module}:select_all" if all_k else None,
        **flags,
    )


@hookimpl
def ddeep_strategies() -> Iterator[StrategySpec]:
    yield from _from_responses()
    yield from _from_weights()
    yield from _from_gradients()
    yield _strategy(
        "csg",
        "the gate of a network trained with the regularizer csg; for others, a gate learned on their responses",
        "Liang et al., Training interpretable CNNs by differentiating class-specific filters, ECCV 2020",
        head_only=True,
        learned=True,
        budgets=True,
    )
    yield _strategy(
        "elastic-net",
        "largest weights of the sparsest elastic-net head in which every class has k",
        "Wong et al., Leveraging sparse linear layers for debuggable deep networks, ICML 2021",
        needs=False,
        all_k=True,
        learned=True,
        budgets=True,
    )
    yield _strategy(
        "sldd",
        "a pool of 50 filters for all classes, and the k·C largest weights of an elastic-net head on it",
        "Norrenbrock et al., Take 5: Interpretable image classification with a handful of features, arXiv 2303.13166",
        needs=False,
        all_k=True,
        learned=True,
        budgets=True,
    )
    yield _strategy(
        "q-senn",
        "filters as of sldd, with a head of weights 1, 0 and -1 times one magnitude",
        "Norrenbrock et al., Q-SENN: Quantized self-explaining neural networks, AAAI 2024",
        needs=False,
        all_k=True,
        learned=True,
        budgets=True,
    )
    yield _strategy(
        "qpm",
        "a pool of 50 filters, and k of it for each class, of large correlation and small redundancy; with a bound",
        "Norrenbrock et al., QPM: Discrete optimization for globally interpretable image classification, ICLR 2025",
        per_k=True,
        budgets=True,
    )
    yield _strategy(
        "pruned-refit",
        "filters of all classes chosen jointly: fitted heads, pruned and improved by swaps",
        "ddeep; optimal brain surgeon: Hassibi & Stork, NIPS 1992",
        needs=False,
        all_k=True,
        learned=True,
        budgets=True,
    )
    yield _strategy(
        "gram",
        "filters that least squares takes in one after the other, from sums alone",
        "orthogonal least squares: Chen, Billings & Luo, International Journal of Control 50, 1989",
        all_k=True,
        budgets=True,
    )


def _from_responses() -> Iterator[StrategySpec]:
    yield _strategy(
        "paper",
        "filters most often among an image's k largest |response|; a fraction q keeps the most frequent ones, "
        "holding about 1-q of the counts, so q=0.9 keeps fewer filters than q=0.5",
        _PAPER,
        fractions=True,
        budgets=True,
        counts_images=True,
    )
    yield _strategy("mean-activation", "largest mean response over the class's images", f"μ_cj of {_MORCOS}")
    yield _strategy(
        "peak",
        "largest mean over the class's images of the map's maximum: small bright spots count",
        "ddeep; the maximum of a map, as activation maximisation and network dissection look at it",
    )
    yield _strategy(
        "contrast",
        "mean response over the class minus that over the other classes",
        f"numerator of the index of {_MORCOS}",
    )
    yield _strategy(
        "selectivity",
        "contrast as a share of the sum of both means: the class selectivity index, class by class",
        _MORCOS,
        non_negative=True,
    )
    yield _strategy(
        "d-prime",
        "difference of mean responses, class against all others, in units of their spread",
        "Green & Swets, Signal Detection Theory and Psychophysics, 1966",
    )
    yield _strategy(
        "roc-auc",
        "how often an image of the class gives a larger response than one of another class",
        "Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 27(8), 2006",
        approximate=True,
    )
    yield _strategy(
        "firing-rate",
        "how much more often the filter is not zero for the class than for the others",
        _APOZ,
        non_negative=True,
    )
    yield _strategy(
        "mutual-information",
        "nats that the binned response tells about membership in the class",
        "Battiti, Using mutual information for selecting features, IEEE Trans. Neural Networks 5(4), 1994",
    )
    yield _strategy("tf-idf", "filters as words, classes as documents", _TFIDF, non_negative=True)
    yield _strategy("contribution", "what the filter adds to the class's logit on average", _LOGIT, head_only=True)
    yield _strategy(
        "contrastive-contribution",
        "what the filter adds to the class's logit beyond the average logit",
        _LOGIT,
        head_only=True,
    )


def _from_weights() -> Iterator[StrategySpec]:
    yield _strategy("weight", "the head's weight from the filter to the class", _LOGIT, needs=False, head_only=True)
    yield _strategy(
        "weight-magnitude",
        "the absolute value of the head's weight",
        "Han et al., Learning both weights and connections for efficient neural networks, NeurIPS 2015",
        needs=False,
        head_only=True,
    )
    yield _strategy(
        "filter-norm",
        "L1 norm of the filter's own weights, the same for every class",
        "Li et al., Pruning filters for efficient ConvNets, ICLR 2017",
        needs=False,
    )
    yield _strategy("random", "filters drawn at random", "the null hypothesis", needs=False, stochastic=True)


def _from_gradients() -> Iterator[StrategySpec]:
    yield _strategy(
        "gradient-activation",
        "mean of activation times the gradient of the true class's logit, summed over positions",
        "Shrikumar et al., Not just a black box, arXiv 1605.01713",
        gradients=True,
    )
    yield _strategy(
        "taylor", "mean |activation × gradient of the true class's logit|, image by image", _MOLCHANOV, gradients=True
    )
    yield _strategy(
        "fisher",
        "half the mean square of activation × gradient of the true class's logit, image by image",
        _THEIS,
        gradients=True,
    )

"""The heads of rerankers as formulas of the last hidden states, right and wrong."""

from collections.abc import Callable
from typing import Any

import torch

Pooling = Callable[[torch.Tensor], torch.Tensor]
Activation = Callable[[torch.Tensor], torch.Tensor]
Head = Callable[[Any, torch.Tensor, Activation], torch.Tensor]

POOLINGS: dict[str, Pooling] = {
    "cls": lambda hidden: hidden[0],
    "mean": lambda hidden: hidden.mean(0),
    "last": lambda hidden: hidden[-1],
}
for _kind in ("bert", "roberta", "xlm-roberta", "distilbert"):
    POOLINGS[_kind] = POOLINGS["cls"]
POOLINGS["qwen3"] = POOLINGS["last"]

HEADS: dict[str, Head] = {
    "bert": lambda model, pooled, act: model.classifier(act(model.bert.pooler.dense(pooled))),
    "roberta": lambda model, pooled, act: model.classifier.out_proj(act(model.classifier.dense(pooled))),
    "distilbert": lambda model, pooled, act: model.classifier(act(model.pre_classifier(pooled))),
    "modernbert": lambda model, pooled, act: model.classifier(model.head.norm(act(model.head.dense(pooled)))),
    "qwen3": lambda model, pooled, act: model.score(act(pooled)),
}
HEADS["xlm-roberta"] = HEADS["roberta"]


def identity(states: torch.Tensor) -> torch.Tensor:
    return states


ACTIVATIONS: dict[str, Activation] = {
    "bert": torch.tanh,
    "roberta": torch.tanh,
    "xlm-roberta": torch.tanh,
    "distilbert": torch.relu,
    "modernbert": torch.nn.functional.gelu,
    "qwen3": identity,
}

# The head without its first linear layer.
BARE_HEADS: dict[str, Callable[[Any, torch.Tensor], torch.Tensor]] = {
    "bert": lambda model, pooled: model.classifier(pooled),
    "roberta": lambda model, pooled: model.classifier.out_proj(pooled),
    "xlm-roberta": lambda model, pooled: model.classifier.out_proj(pooled),
    "distilbert": lambda model, pooled: model.classifier(pooled),
    "modernbert": lambda model, pooled: model.classifier(pooled),
}


def head_mistakes(model: Any, pooling: Pooling) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Logits [labels] of hidden states [length, hidden], with a mistake each."""
    kind = model.config.model_type
    head, right = HEADS[kind], ACTIVATIONS[kind]
    mistakes: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {}

    def mistake(name: str, pooled: Pooling, activation: Activation) -> None:
        mistakes[name] = lambda hidden: head(model, pooled(hidden), activation)

    for name in ("cls", "mean", "last"):
        if POOLINGS[name] is not pooling:
            mistake(f"{name} pooling", POOLINGS[name], right)
    if kind not in BARE_HEADS:
        return mistakes
    for name, activation in {"no": identity, "tanh as": torch.tanh, "relu as": torch.relu}.items():
        if activation is not right:
            mistake(f"{name} activation of the head", pooling, activation)
    bare = BARE_HEADS[kind]
    mistakes["no first layer of the head"] = lambda hidden: bare(model, pooling(hidden))
    if kind == "modernbert":
        mistakes["no norm of the head"] = lambda hidden: model.classifier(right(model.head.dense(pooling(hidden))))
    return mistakes

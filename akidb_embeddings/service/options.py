"""The options of every call that embeds."""

from collections.abc import Callable, Mapping
from typing import Any, TypedDict


class Options(TypedDict, total=False):
    """What every call that embeds takes, besides its prompt; ``EmbeddingService.encode`` says what each means."""

    timeout: float | None
    progress: Callable[[int], object] | None
    wait: bool
    first_index: int
    precision: str
    alone: bool


class EncodeOptions(Options, total=False):
    """What ``encode`` takes besides texts and output."""

    prompt_name: str | None
    prompt: str | None
    task: str | None


def with_default_prompt(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the model's prompt called ``name``, unless they have another."""
    given = (options.get(one) for one in ("prompt_name", "prompt", "task"))
    return dict(options) if any(one is not None for one in given) else {**options, "prompt_name": name}

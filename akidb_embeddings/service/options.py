"""The options of every call that embeds."""

from collections.abc import Callable
from typing import TypedDict, cast

from akidb_embeddings.errors import InputError


class Options(TypedDict, total=False):
    """What every call that embeds takes.

    Attributes:
        timeout: Seconds after which the call fails with DeadlineError; texts that still wait leave the queue.
        progress: Called with a number of texts whenever that many more are done.
        wait: Wait for room where the engine's queue is full, instead of failing with OverloadError.
        first_index: The number that errors give the first text, where the list is part of a longer one.
        precision: The form of the vectors, as ``quantize`` makes it without ranges.
        alone: Share no micro-batch with other calls. Equal lists then give equal bits; otherwise the last bits depend
            on what else is in a product.
    """

    timeout: float | None
    progress: Callable[[int], object] | None
    wait: bool
    first_index: int
    precision: str
    alone: bool


class PromptOptions(Options, total=False):
    """``Options``, and another prompt than the usual one.

    Attributes:
        prompt_name: The name of one of the model's prompts.
        prompt: A prompt in the caller's own words.
    """

    prompt_name: str | None
    prompt: str | None


class QueryOptions(PromptOptions, total=False):
    """``PromptOptions``, or the task of queries.

    Attributes:
        task: An instruction for models whose query prompt holds one.
    """

    task: str | None


def with_default_prompt(name: str, options: QueryOptions) -> QueryOptions:
    """The options with the model's prompt called ``name``, unless they have another."""
    given = options.get("prompt_name"), options.get("prompt"), options.get("task")
    return options if any(one is not None for one in given) else {**options, "prompt_name": name}


def document_options(options: PromptOptions) -> QueryOptions:
    """The options with the model's document prompt, unless they have another.

    Raises:
        InputError: They have a task, which is for queries.
    """
    given = cast(QueryOptions, options)
    if given.get("task") is not None:  # a caller without a type checker
        raise InputError("A task is for queries. For other texts with its prompt, use encode(texts, task=…).")
    return with_default_prompt("document", given)

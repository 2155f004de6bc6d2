"""Keyword arguments of public methods: a misspelt one is refused by name, with the one that may be meant. Timeouts."""

import functools
import inspect
import math
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from numbers import Real
from typing import Any, ParamSpec, TypeVar, cast

from akidb_embeddings.config.embedding import FIELDS
from akidb_embeddings.config.file import check_keys
from akidb_embeddings.errors import ArgumentError, InputError
from akidb_embeddings.service.elsewhere import DEVICE

P = ParamSpec("P")
R = TypeVar("R")

# Arguments of sentence-transformers' ``encode``, and what there is for them here.
_ELSEWHERE = {
    "normalize_embeddings": "vectors have length 1 unless the service is made with normalize=False",
    "truncate_dim": "make the service with dimensions=N",
    "show_progress_bar": "give progress=, such as the update method of a tqdm bar",
    "convert_to_numpy": "vectors are NumPy arrays",
    "convert_to_tensor": "vectors are NumPy arrays, which torch.from_numpy takes",
    "output_value": "give output='dense', 'sparse' or 'tokens' to encode",
    "convert_to_sparse_tensor": "encode(texts, output='sparse') gives indices and values in NumPy arrays",
    "device": DEVICE,
}
_NO_TASK = "A task is for queries. For other texts with its prompt, use encode(texts, task=…)."


def given_arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """A method's arguments, given its ``locals()`` at its beginning: everything but ``self``."""
    return {name: value for name, value in values.items() if name != "self"}


def check_timeout(timeout: float | None) -> float | None:
    """The seconds that a call may take; None for any, which infinity is, too, and more than the system can wait.

    A negative number is 0: the time of a caller who passes what is left of it may be over.

    Raises:
        InputError: It is no number, or NaN.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, Real) or math.isnan(timeout):
        raise InputError(
            field="timeout", reason=f"is {timeout!r}; a number of seconds is expected, or None for no deadline."
        )
    return None if timeout >= threading.TIMEOUT_MAX else max(0.0, float(timeout))


def deadline_after(timeout: float | None) -> float | None:
    """The ``time.monotonic`` at which a call that begins now must be done; None for no deadline.

    Raises:
        InputError: As ``check_timeout``.
    """
    seconds = check_timeout(timeout)
    return None if seconds is None else time.monotonic() + seconds


def names_checker(
    service: str, fields: Collection[str], elsewhere: Mapping[str, str]
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator that makes a method, or a coroutine method, refuse unknown keyword arguments with our own error.

    Python's own error would name neither the argument that may be meant nor the allowed ones. The signature stays.

    Args:
        service: The name of the class.
        fields: The settings of its configuration.
        elsewhere: Arguments of other libraries, and what there is for them here.
    """

    def checked(method: Callable[P, R]) -> Callable[P, R]:
        names = [name for name in inspect.signature(method).parameters if name != "self"]
        known = frozenset(names)
        owner, _, own_name = method.__qualname__.rpartition(".")
        called = owner if own_name == "__init__" else own_name

        def check(given: Mapping[str, Any]) -> None:
            if not given.keys() <= known:
                name = next(one for one in given if one not in known)
                if name == "task" and "prompt" in names:
                    raise InputError(_NO_TASK)
                if name in fields:
                    text = f"{name} is a setting of the whole service, no argument of {called}: {service}({name}=…)."
                    raise ArgumentError(text, field=name)
                if name in elsewhere:
                    raise ArgumentError(f"{called} has no argument {name!r}: {elsewhere[name]}.", field=name)
                check_keys(given, names, function=called)

        if inspect.iscoroutinefunction(method):
            coroutine = cast(Callable[P, Awaitable[Any]], method)

            @functools.wraps(method)
            async def acall(*positional: P.args, **given: P.kwargs) -> Any:
                check(given)
                return await coroutine(*positional, **given)

            return cast(Callable[P, R], acall)

        @functools.wraps(method)
        def call(*positional: P.args, **given: P.kwargs) -> R:
            check(given)
            return method(*positional, **given)

        return call

    return checked


def checked_names(method: Callable[P, R]) -> Callable[P, R]:
    """``names_checker`` for the methods of ``EmbeddingService``."""
    return names_checker("EmbeddingService", FIELDS, _ELSEWHERE)(method)


def same_arguments(other: Callable[..., Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a function that passes its arguments on the signature of the one that takes them."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        vars(function)["__signature__"] = inspect.signature(other)
        return function

    return decorate

"""One hierarchy of errors, each also the built-in kind that callers expect, and all of them picklable."""

import copy
import inspect
import pickle

import pytest

import akidb_embeddings
from akidb_embeddings import errors
from akidb_embeddings.errors import (
    CheckpointError,
    ConfigurationError,
    DeadlineError,
    DownloadError,
    EmbeddingError,
    InputError,
    ModelNotFoundError,
    NonFiniteVectorError,
    OverloadError,
    WorkerError,
)

ALL = [error for _, error in inspect.getmembers(errors, inspect.isclass) if error.__module__ == errors.__name__]

KINDS = {
    CheckpointError: ValueError,
    ConfigurationError: ValueError,
    DeadlineError: OverloadError,
    DownloadError: OSError,
    InputError: ValueError,
    ModelNotFoundError: LookupError,
    NonFiniteVectorError: WorkerError,
    OverloadError: RuntimeError,
    WorkerError: RuntimeError,
}


def test_every_error_is_known_here_and_public() -> None:
    assert set(ALL) == {EmbeddingError, *KINDS}
    for error in ALL:
        assert getattr(akidb_embeddings, error.__name__) is error
        assert error.__doc__


@pytest.mark.parametrize(("error", "kind"), KINDS.items())
def test_every_error_is_an_embedding_error_and_of_a_built_in_kind(
    error: type[Exception], kind: type[Exception]
) -> None:
    assert issubclass(error, EmbeddingError)
    assert issubclass(error, kind)


@pytest.mark.parametrize("error", [error for error in ALL if error is not NonFiniteVectorError])
def test_an_error_crosses_processes_with_its_message(error: type[Exception]) -> None:
    for twin in (pickle.loads(pickle.dumps(error("what happened"))), copy.copy(error("what happened"))):
        assert type(twin) is error
        assert str(twin) == "what happened"


def test_a_vector_with_nan_names_its_text() -> None:
    error = NonFiniteVectorError(17, 230)
    twin = pickle.loads(pickle.dumps(error))
    for one in (error, twin, copy.copy(error)):
        assert (one.index, one.tokens) == (17, 230)
        assert str(one).startswith("The model gave NaN or infinity for texts[17] (230 tokens)")

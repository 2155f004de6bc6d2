"""One hierarchy of errors, each also the built-in kind that callers expect, and all of them picklable."""

import copy
import inspect
import pickle

import pytest

import akidb_embeddings
from akidb_embeddings import errors
from akidb_embeddings.errors import (
    ArgumentError,
    CheckpointError,
    ConfigurationError,
    DeadlineError,
    DownloadError,
    EmbeddingError,
    InputError,
    MemoryLimitError,
    ModelNotFoundError,
    NonFiniteVectorError,
    OverloadError,
    UnusableVectorError,
    WorkerError,
    ZeroVectorError,
)

ALL = [error for _, error in inspect.getmembers(errors, inspect.isclass) if error.__module__ == errors.__name__]

KINDS = {
    ArgumentError: TypeError,
    CheckpointError: ValueError,
    ConfigurationError: ValueError,
    DeadlineError: OverloadError,
    DownloadError: OSError,
    InputError: ValueError,
    MemoryLimitError: MemoryError,
    ModelNotFoundError: LookupError,
    NonFiniteVectorError: UnusableVectorError,
    OverloadError: RuntimeError,
    UnusableVectorError: WorkerError,
    WorkerError: RuntimeError,
    ZeroVectorError: UnusableVectorError,
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


@pytest.mark.parametrize("error", [error for error in ALL if not issubclass(error, UnusableVectorError)])
def test_an_error_crosses_processes_with_its_message(error: type[Exception]) -> None:
    for twin in (pickle.loads(pickle.dumps(error("what happened"))), copy.copy(error("what happened"))):
        assert type(twin) is error
        assert str(twin) == "what happened"


@pytest.mark.parametrize(
    ("kind", "fault"), [(NonFiniteVectorError, "NaN or infinity"), (ZeroVectorError, "only zeros")]
)
def test_an_output_that_is_no_vector_names_its_text(kind: type[UnusableVectorError], fault: str) -> None:
    error = kind(17, 230)
    twin = pickle.loads(pickle.dumps(error))
    for one in (error, twin, copy.copy(error)):
        assert (one.index, one.tokens) == (17, 230)
        assert str(one).startswith(f"The model gave {fault} for texts[17] (230 tokens): its weights")


def test_a_message_is_made_from_the_attributes() -> None:
    error = InputError(field="texts", index=3, reason="has 300 tokens; the limit is 256.", limit=256)
    assert str(error) == "texts[3] has 300 tokens; the limit is 256."
    assert repr(error) == "InputError('texts[3] has 300 tokens; the limit is 256.')"
    assert (error.subject(), error.limit) == ("texts[3]", 256)
    assert EmbeddingError("It failed.").subject() is None
    sourced = ConfigurationError(field="port", reason="is 0; it must be 1.", source="/etc/akidb.yaml: server")
    assert str(sourced) == "/etc/akidb.yaml: server: port is 0; it must be 1."


def test_a_changed_copy_has_another_name_or_number_and_leaves_the_original() -> None:
    error = InputError(field="texts", index=3, reason="is empty.")
    error.__cause__ = cause = KeyError("why")
    renamed = error.changed(field="line 12", index=None)
    assert type(renamed) is InputError
    assert (str(renamed), renamed.__cause__) == ("line 12 is empty.", cause)
    assert str(error.shifted(10)) == "texts[13] is empty."
    assert str(InputError("Nothing to count.").shifted(10)) == "Nothing to count."
    assert str(error) == "texts[3] is empty."
    spoilt = NonFiniteVectorError(3, 7).changed(index=9)
    assert (type(spoilt), spoilt.index, spoilt.tokens) == (NonFiniteVectorError, 9, 7)
    assert "texts[9] (7 tokens)" in str(pickle.loads(pickle.dumps(spoilt)))


def test_arguments_are_called_what_the_caller_calls_them() -> None:
    error = ConfigurationError(field="prompt_name", reason="is 'x'; this model has 'y'.", hint="Or give {prompt}=TEXT.")
    assert str(error) == "prompt_name is 'x'; this model has 'y'. Or give prompt=TEXT."
    flags = {"prompt_name": "--prompt", "prompt": "--prompt-text"}
    assert error.message(flags) == "--prompt is 'x'; this model has 'y'. Or give --prompt-text=TEXT."
    assert error.message({"prompt_name": "prompt", "prompt": None}) == "prompt is 'x'; this model has 'y'."
    in_a_file = error.changed(source="f.yaml: embedding")
    assert in_a_file.message(flags) == "f.yaml: embedding: prompt_name is 'x'; this model has 'y'. Or give prompt=TEXT."


def test_a_callers_words_are_never_read() -> None:
    name = "{prompt} texts[7] the limit is 7"
    error = ConfigurationError(field="prompt_name", reason=f"is {name!r}.", hint="Or give {prompt}=TEXT.")
    twin = pickle.loads(pickle.dumps(error.changed(index=2)))
    assert (twin.limit, twin.index, twin.subject()) == (None, 2, "prompt_name[2]")
    assert str(twin) == f"prompt_name[2] is {name!r}. Or give prompt=TEXT."

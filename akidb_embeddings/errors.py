"""Every error a caller can meet, in one hierarchy.

``except EmbeddingError`` catches all of them. Each also inherits from the built-in exception
that callers already expect (``ValueError`` for bad values, ``OSError`` for failed downloads, …).
"""


class EmbeddingError(Exception):
    """Base class of every error this library raises on purpose."""


class ConfigurationError(EmbeddingError, ValueError):
    """A configuration key, type or value that is not allowed."""


class ModelNotFoundError(EmbeddingError, LookupError):
    """A model name that leads nowhere, or a model that is neither cached nor may be downloaded."""


class DownloadError(EmbeddingError, OSError):
    """A download that was tried and failed; nothing of it counts as cached."""


class CheckpointError(EmbeddingError, ValueError):
    """A model folder whose files are missing, damaged or not supported."""


class InputError(EmbeddingError, ValueError):
    """A text or vector the caller passed that cannot be used; the message names its index."""


class OverloadError(EmbeddingError, RuntimeError):
    """The engine's queue is full, or the request waited past its deadline."""


class DeadlineError(OverloadError):
    """The call was not done by its deadline."""


class WorkerError(EmbeddingError, RuntimeError):
    """The MLX thread failed, died, was closed, or belongs to another process."""


class NonFiniteVectorError(WorkerError):
    """The model produced NaN or infinity for a text, which is an error and never a vector. ``index`` is the text's."""

    def __init__(self, index: int, tokens: int) -> None:
        super().__init__(index, tokens)
        self.index, self.tokens = index, tokens

    def __str__(self) -> str:
        return (
            f"The model gave NaN or infinity for texts[{self.index}] ({self.tokens} tokens): its weights are damaged, "
            "or its activations overflow."
        )

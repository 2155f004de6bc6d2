"""An encoder for MTEB: ``mteb.evaluate(MTEBEncoder("minilm-l6-v2"), tasks)`` runs its tasks on this library.

It has the methods of ``mteb.EncoderProtocol`` (mteb 2). Neither mteb nor PyTorch is needed to import or test it; only
``mteb_model_meta`` imports mteb, of whoever runs that.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from akidb_embeddings.errors import ConfigurationError, InputError
from akidb_embeddings.registry import MODELS
from akidb_embeddings.service.inputs import check_texts
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.vectors.finish import Vectors, finish
from akidb_embeddings.vectors.precision import Similarities, similarity


class TaskMetadata(Protocol):
    """What is read of ``mteb.TaskMetadata``: ``STSBenchmark`` and ``STS``, for instance."""

    @property
    def name(self) -> str:
        """The task's name."""

    @property
    def type(self) -> str:
        """The kind of task."""


class MTEBEncoder:
    """The texts of MTEB's batches to vectors, each with the prompt that the model has for the task.

    Texts come with document titles joined by a space, as MTEB does it. Micro-batches are the service's own, so MTEB's
    ``batch_size`` is without effect.
    """

    def __init__(
        self,
        model_name: str | os.PathLike[str] | EmbeddingService,
        revision: str | None = None,
        *,
        device: str | None = None,
        embed_dim: int | None = None,
        **overrides: Any,
    ) -> None:
        """Load a model, or take a service that is already there; the latter stays its owner's to close.

        Args:
            model_name: A registry name, a Hugging Face repository or a local folder; or a service.
            revision: Branch, tag or commit of the repository.
            device: MTEB's loader passes one on; only None is allowed, for MLX computes where it can.
            embed_dim: MTEB's word for ``dimensions``.
            **overrides: Fields of ``EmbeddingConfig``: ``query_prompt``, ``max_tokens``, …

        Raises:
            ConfigurationError: a device, or settings beside a service. Else as ``EmbeddingService``.
        """
        if device is not None:
            raise ConfigurationError(f"device is {device!r}; leave it out. AKIDB_BACKEND=cpu keeps MLX on the CPU.")
        if embed_dim is not None:
            overrides["dimensions"] = embed_dim
        if revision is not None:
            overrides["revision"] = revision
        if isinstance(model_name, EmbeddingService):
            if overrides:
                raise ConfigurationError(f"A service has its settings; {', '.join(overrides)} cannot be given with it.")
            self._service = model_name
        else:
            self._service = EmbeddingService(model_name, **overrides)
        self._meta: Any = None

    @property
    def service(self) -> EmbeddingService:
        """What computes the vectors."""
        return self._service

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: str | None = None,
        **kwargs: Any,
    ) -> Vectors:
        """Vectors of all texts in batches like ``{"text": ["…", "…"]}``, float32 ``[texts, dimension]``.

        Args:
            inputs: A ``DataLoader``, or any other iterable of batches.
            task_metadata: Decides on the prompt together with ``prompt_type``; see ``prompt_for``.
            hf_split: Not used.
            hf_subset: Not used.
            prompt_type: ``query``, ``document`` or None.
            **kwargs: MTEB's ``batch_size`` and ``show_progress_bar`` are not used; ``precision`` must be float32.

        Raises:
            InputError: a batch has no texts but images or sounds, or another precision is asked for.
        """
        if kwargs.get("precision") not in (None, "float32"):
            raise InputError(f"precision is {kwargs['precision']!r}; only float32 is computed.")
        texts: list[str] = []
        for batch in inputs:
            if "text" not in batch:
                raise InputError(f"A batch has {', '.join(batch) or 'nothing'} and no text; only texts are embedded.")
            texts += check_texts(batch["text"])
        return self._service.embed(texts, prompt=self.prompt_for(task_metadata, prompt_type), wait=True)

    def prompt_for(self, task_metadata: TaskMetadata, prompt_type: str | None = None) -> str:
        """The prompt for texts of a task, by MTEB's rule.

        It is the first there is of the model's prompts called task-query (STS22-query), task (STS22), kind-query
        (Retrieval-query), kind (STS), query; likewise with document. Where MTEB names no side and the model has none of
        these, it is what texts of no kind get. What the configuration says of queries (``query_prompt``,
        ``query_prompt_name``, ``task``) or documents goes before the model's own.
        """
        config, prompts = self._service.config, self._service.settings.prompts
        kind = None if prompt_type is None else str(getattr(prompt_type, "value", prompt_type))
        configured = {
            "query": (config.query_prompt, config.query_prompt_name, config.task),
            "document": (config.document_prompt, config.document_prompt_name),
        }
        if kind in configured and any(one is not None for one in configured[kind]):
            return prompts[kind]
        names = _prompt_names(task_metadata.name, task_metadata.type, kind)
        return next((prompts[name] for name in names if name in prompts), self._service.settings.default_prompt)

    def similarity(self, embeddings1: ArrayLike, embeddings2: ArrayLike) -> Similarities:
        """Cosine similarities ``[len(embeddings1), len(embeddings2)]``, of arrays, or of tensors on the CPU."""
        return similarity(np.atleast_2d(embeddings1), np.atleast_2d(embeddings2))

    def similarity_pairwise(self, embeddings1: ArrayLike, embeddings2: ArrayLike) -> NDArray[np.float32]:
        """Cosine similarities of the first with the first, the second with the second, …: ``[n]``."""
        pairs: NDArray[np.float32] = (_unit(embeddings1) * _unit(embeddings2)).sum(axis=1)
        return pairs

    @property
    def mteb_model_meta(self) -> Any:
        """An ``mteb.ModelMeta``, under whose name and revision MTEB files its results.

        Its revision is a fingerprint, so that results of other weights, settings or prompts are kept apart.
        """
        if self._meta is None:
            from mteb.models.model_meta import ModelMeta, ScoringFunction

            facts = {
                "name": self._name(),
                "revision": self._revision(),
                "embed_dim": self._service.dimension,
                "max_tokens": self._service.settings.max_tokens,
                "similarity_fn_name": ScoringFunction.COSINE,
                "use_instructions": any(self._service.settings.prompts.values()),
            }
            self._meta = ModelMeta.create_empty(overwrites=facts)
        return self._meta

    @mteb_model_meta.setter
    def mteb_model_meta(self, meta: Any) -> None:
        self._meta = meta

    def _name(self) -> str:
        """MTEB wants owner/name."""
        name = self._service.config.model_name
        if name in MODELS:
            return MODELS[name].repo
        folder = Path(name).expanduser()
        return f"local/{folder.resolve().name}" if folder.is_dir() or name.count("/") != 1 else name

    def _revision(self) -> str:
        prompts = {*self._service.settings.prompts.values(), self._service.settings.default_prompt}
        fingerprints = sorted(self._service.fingerprint(prompt) for prompt in prompts)
        digest = hashlib.sha256("\n".join(fingerprints).encode()).hexdigest()[:20]
        return f"{fingerprints[0].rpartition('-')[0]}-{digest}"


def _prompt_names(task: str, task_type: str, kind: str | None) -> Sequence[str]:
    if kind is None:
        return (task, task_type)
    return (f"{task}-{kind}", task, f"{task_type}-{kind}", task_type, kind)


def _unit(embeddings: ArrayLike) -> Vectors:
    return finish(np.atleast_2d(np.asarray(embeddings, dtype=np.float32)), None, True)

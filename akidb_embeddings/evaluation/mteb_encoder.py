"""An encoder for MTEB: ``mteb.evaluate(MTEBEncoder("minilm-l6-v2"), tasks)`` runs its tasks on this library.

It has the methods of ``mteb.EncoderProtocol`` (mteb 2). Importing and testing it needs neither mteb nor PyTorch; only
``mteb_model_meta`` imports mteb.
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
from akidb_embeddings.service.arguments import checked_names
from akidb_embeddings.service.inputs import check_texts
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.vectors.arrays import numeric_matrix
from akidb_embeddings.vectors.finish import Vectors, row_cosines
from akidb_embeddings.vectors.precision import Similarities, similarity

# What mteb puts into a batch besides texts, and what belongs to these (title, body, query, instruction, …).
_MODALITIES = ("image", "audio", "video")


class TaskMetadata(Protocol):
    """The attributes used of ``mteb.TaskMetadata``: ``STSBenchmark`` and ``STS``, for example."""

    @property
    def name(self) -> str:
        """The task's name."""

    @property
    def type(self) -> str:
        """The kind of task."""


class MTEBEncoder:
    """Embeds MTEB's batches, with the prompt that the model has for the task.

    MTEB has already joined document titles and texts with a space. The service forms its own micro-batches, so MTEB's
    ``batch_size`` has no effect.
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
        """Load a model, or use an existing service, which its owner closes.

        Args:
            model_name: A registry name, a Hugging Face repository or a local folder; or a service.
            revision: Branch, tag or commit of the repository.
            device: Passed on by MTEB's loader; only None is allowed, because MLX chooses the device.
            embed_dim: MTEB's name for ``dimensions``.
            **overrides: Fields of ``EmbeddingConfig``: ``query_prompt``, ``max_tokens``, …

        Raises:
            ConfigurationError: A device was given, or settings together with a service; or as in ``EmbeddingService``.
        """
        if device is not None:
            raise ConfigurationError(
                field="device", reason=f"is {device!r}; leave it out. AKIDB_BACKEND=cpu keeps MLX on the CPU."
            )
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
        """The service that computes the vectors."""
        return self._service

    @checked_names
    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        precision: str | None = None,
    ) -> Vectors:
        """Embed all texts of batches like ``{"text": ["…", "…"]}``.

        Args:
            inputs: A ``DataLoader``, or another iterable of batches.
            task_metadata: Determines the prompt together with ``prompt_type``; see ``prompt_for``.
            hf_split: Not used.
            hf_subset: Not used.
            prompt_type: ``query``, ``document`` or None.
            batch_size: Not used.
            show_progress_bar: Not used.
            precision: float32, or None for it.

        Returns:
            float32 [texts, dimension].

        Raises:
            ArgumentError: There is no such argument.
            InputError: A batch has images, audio or video, with texts or instead of them; ``index`` says which. Or
                another precision is requested.
        """
        if precision not in (None, "float32"):
            raise InputError(field="precision", reason=f"is {precision!r}; only float32 is supported.")
        texts: list[str] = []
        for index, batch in enumerate(inputs):
            others = [name for name in batch if name in _MODALITIES]
            if others or "text" not in batch:
                found = f"{', '.join(others)} besides" if "text" in batch else f"{', '.join(batch) or 'nothing'} and no"
                raise InputError(
                    f"A batch has {found} text; only texts can be embedded. Choose tasks of texts alone: "
                    "mteb.get_tasks(modalities=['text'], exclusive_modality_filter=True).",
                    field="inputs",
                    index=index,
                )
            texts += check_texts(batch["text"])
        return self._service.embed(texts, prompt=self.prompt_for(task_metadata, prompt_type), wait=True)

    def prompt_for(self, task_metadata: TaskMetadata, prompt_type: str | None = None) -> str:
        """Choose the prompt for texts of a task, by MTEB's rules.

        It is the model's first prompt with one of these names: task-query (STS22-query), task (STS22), type-query
        (Retrieval-query), type (STS), query; likewise for documents. Without ``prompt_type``, it is task or type, else
        the default prompt. Prompts that are configured for queries (``query_prompt``, ``query_prompt_name``, ``task``)
        or documents take precedence over the model's own.

        Args:
            task_metadata: The task's name and type.
            prompt_type: ``query``, ``document`` or None.

        Returns:
            The prompt's text.
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
        """Compute the cosine similarity of all pairs.

        Args:
            embeddings1: An array, or a tensor on the CPU, ``[n, d]`` or ``[d]``.
            embeddings2: As ``embeddings1``, ``[m, d]`` or ``[d]``.

        Returns:
            float32 [n, m].
        """
        return similarity(np.atleast_2d(embeddings1), np.atleast_2d(embeddings2))

    def similarity_pairwise(self, embeddings1: ArrayLike, embeddings2: ArrayLike) -> NDArray[np.float32]:
        """Compute the cosine similarity of each vector with its partner.

        Args:
            embeddings1: An array, or a tensor on the CPU, ``[n, d]`` or ``[d]``.
            embeddings2: As ``embeddings1``.

        Returns:
            float32 [n].

        Raises:
            InputError: They have not the same shape, or are no numbers.
        """
        first = numeric_matrix(np.atleast_2d(embeddings1), "embeddings1")
        second = numeric_matrix(np.atleast_2d(embeddings2), "embeddings2")
        if first.shape != second.shape:
            raise InputError(
                f"embeddings1 has shape {first.shape} and embeddings2 {second.shape}; pairs need the same shape. "
                "similarity compares all with all."
            )
        return row_cosines(first, second).astype(np.float32)

    @property
    def mteb_model_meta(self) -> Any:
        """The ``mteb.ModelMeta`` with the name and revision under which MTEB stores results.

        The revision is a fingerprint, so that results of other weights, settings or prompts are stored separately.
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
        """A name of the form owner/name, which MTEB expects."""
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

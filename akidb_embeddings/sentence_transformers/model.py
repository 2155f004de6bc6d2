"""``MLXSentenceTransformer``: the methods of sentence-transformers' ``SentenceTransformer``, computed with MLX."""

import logging
from collections.abc import Mapping
from typing import Any

from akidb_embeddings.checkpoint.prompts import find_prompt
from akidb_embeddings.errors import InputError
from akidb_embeddings.sentence_transformers.arguments import check_encode, checked_names
from akidb_embeddings.sentence_transformers.base import LoadedTransformer
from akidb_embeddings.sentence_transformers.outputs import converted, quantized
from akidb_embeddings.service.arguments import given_arguments
from akidb_embeddings.service.inputs import check_texts
from akidb_embeddings.vectors.finish import Vectors, finish

_log = logging.getLogger(__name__)


class MLXSentenceTransformer(LoadedTransformer):
    """Text embeddings for code that was written for ``sentence_transformers.SentenceTransformer``.

    ```python
    model = MLXSentenceTransformer("minilm-l6-v2")
    vectors = model.encode(["first text", "second text"])
    ```

    Vectors are as the model's modules make them, of texts up to the model's own limit. An object may be called from any
    thread, pickled and copied. The weights are freed when the last object with them is garbage-collected.

    Args:
        model_name_or_path: A registry name, a Hugging Face repository or a local folder.
        device: Not used: a GPU computes wherever MLX finds one, unless AKIDB_BACKEND=cpu is in the environment.
        prompts: Prompts by name, which replace the model's own of these names.
        default_prompt_name: The prompt of ``encode``; None for the model's own.
        cache_folder: Folder for downloads.
        trust_remote_code: Not used: a model's own code is never run; a model that cannot be computed without is an
            error.
        revision: Branch, tag or commit of the repository.
        local_files_only: Whether a missing model is an error instead of a download.
        backend: Only "torch", which stands for MLX here.
        similarity_fn_name: "cosine", "dot", "euclidean" or "manhattan"; None for the model's own, else "cosine".
        truncate_dim: The length to which vectors are cut, one that the model was trained for; None for the model's own.
        **settings: Fields of ``EmbeddingConfig``: ``max_tokens``, ``truncate``, ``untrained_dimensions``, ``pooling``,
            ``memory``, ``compute``, ``batch_size``, ``warm_up``, ``keep_warm``, ``max_queued_tokens``, ``adapter``,
            ``adapter_revision``.

    Attributes:
        prompts: Prompts by name, the model's own and those given; it may be changed.
        default_prompt_name: The prompt of ``encode``; None for none.
    """

    @checked_names
    def encode(
        self,
        inputs: Any,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        precision: str | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: object = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: object = None,
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Vectors ``[n, dimension]``, or ``[dimension]`` of a single text.

        ``inputs`` is a text or an iterable of texts, also as ``sentences=``. ``device``, ``batch_size`` and
        ``chunk_size`` have no effect. ``convert_to_tensor=True`` and ``convert_to_numpy=False`` need PyTorch.
        ``precision`` "int8" and "uint8" are levels within the ranges of this call's vectors. Vectors are cut, then
        normalized. All else is as in sentence-transformers, or an error.

        Raises:
            ArgumentError, InputError: An argument is unknown or cannot be honoured; or a text is not a string.
            ConfigurationError: There is no such prompt, or the model was not trained for that length.
            WorkerError: See ``akidb_embeddings.errors``.
        """
        check_encode(output_value, precision, batch_size, {**kwargs, "pool": pool})
        if isinstance(inputs, Mapping | set | frozenset):  # of several parts for sentence-transformers, or in no order
            raise InputError(
                field="inputs", reason=f"is of type {type(inputs).__name__}; a text or a list of texts is expected."
            )
        texts = [inputs] if isinstance(inputs, str) else check_texts(inputs)
        length = self._checked_length(truncate_dim) or self.truncate_dim
        vectors = self._embed(texts, self._prompt(prompt, prompt_name), _is_shown(show_progress_bar))
        vectors = finish(vectors, length, normalize_embeddings, self._has_layer_norm(length))
        result = converted(self._quantized(vectors, precision or "float32"), convert_to_numpy, convert_to_tensor)
        return result[0] if isinstance(inputs, str) else result

    @checked_names
    def encode_query(
        self,
        inputs: Any,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        precision: str | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: object = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: object = None,
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """``encode`` with the prompt called ``query``, unless another is given."""
        return self._encode_as("query", given_arguments(locals()))

    @checked_names
    def encode_document(
        self,
        inputs: Any,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        precision: str | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: object = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: object = None,
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """``encode`` with the prompt called ``document``, unless another is given.

        That is ``passage`` or ``corpus`` if the model has no ``document``, and a warning says so.
        """
        return self._encode_as("document", given_arguments(locals()))

    def _encode_as(self, name: str, given: dict[str, Any]) -> Any:
        others = given.pop("kwargs")
        if given["prompt_name"] is None and given["prompt"] is None and name in self.prompts:
            given["prompt_name"] = name
            if name == "document":
                self._warn_of_passages()
        return self.encode(**given, **others)

    def _prompt(self, prompt: str | None, name: str | None) -> str:
        if prompt is not None:
            if name is not None:
                _log.warning("prompt and prompt_name are both given; prompt_name, which is %r, does not count.", name)
            return prompt
        name = self.default_prompt_name if name is None else name
        if name is None:
            return ""
        text = find_prompt(self.prompts, name)
        # The model's own query prompt is resolved by the service, which warns if there are others instead.
        is_own = name == "query" and self._service.settings.prompts.get(name) == text
        return self._service.resolve_prompt(prompt_name=name) if is_own else text

    def _warn_of_passages(self) -> None:
        """Warn once if documents get a prompt of another name, or none although there is one."""
        doubtful, self._doubtful = self._doubtful, None
        if doubtful is not None:
            name, text = self._service.config.model_name, self.prompts["document"]
            _log.warning(
                "%s has no prompt 'document', so documents get its prompt %r; sentence-transformers 5 and 6 would "
                "embed them without. Give prompts={'document': …} to decide."
                if text
                else "%s has an empty prompt 'document', so documents get no prompt, as in sentence-transformers, "
                "though there is a prompt %r. Give prompts={'document': …} to decide.",
                name,
                doubtful,
            )

    def _embed(self, texts: list[str], prompt: str, is_shown: bool) -> Vectors:
        if not is_shown:
            return self._service.embed(texts, prompt=prompt, wait=True)
        from tqdm.auto import tqdm

        with tqdm(total=len(texts), desc="Embedding", unit=" texts") as bar:
            return self._service.embed(texts, prompt=prompt, wait=True, progress=bar.update)

    def _has_layer_norm(self, length: int | None) -> bool:
        checkpoint = self._service.checkpoint
        return checkpoint.matryoshka_layer_norm and length is not None and length < checkpoint.dimension

    def _quantized(self, vectors: Vectors, precision: str) -> Any:
        if self._service.settings.integers and precision != "float32":
            raise InputError(
                field="precision",
                reason=f"is {precision!r}; this model's vectors are integers by themselves. Leave it out, or use "
                "EmbeddingService.embed(texts, precision=…), which knows the authors' forms of them.",
            )
        return quantized(vectors, precision)


def _is_shown(show_progress_bar: bool | None) -> bool:
    if show_progress_bar is None:
        return _log.getEffectiveLevel() in (logging.INFO, logging.DEBUG)
    return show_progress_bar

"""A loaded model with its configuration: what it is, how it counts tokens, and how long it stays loaded."""

from collections.abc import Iterable

from akidb_embeddings.checkpoint.checkpoint import Checkpoint
from akidb_embeddings.checkpoint.fingerprint import fingerprint
from akidb_embeddings.checkpoint.prompts import DOCUMENT_PROMPTS
from akidb_embeddings.checkpoint.settings import Settings, check_output
from akidb_embeddings.checkpoint.token_vectors import DOCUMENT, QUERY
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.errors import InputError
from akidb_embeddings.registry.outputs import TOKENS
from akidb_embeddings.service.inputs import check_text, check_texts
from akidb_embeddings.service.open_model import OpenModel
from akidb_embeddings.service.resources import Resources
from akidb_embeddings.vectors.precision import check_precision


def role_of(prompt_name: str | None) -> str:
    """Whether texts are queries or documents, by the name of their prompt.

    Raises:
        InputError: The name does not say it.
    """
    if prompt_name in (QUERY, *DOCUMENT_PROMPTS):
        return QUERY if prompt_name == QUERY else DOCUMENT
    raise InputError(
        field="prompt_name",
        reason=f"is {prompt_name!r}, but token vectors of queries and documents differ in more than their prompts.",
        hint=f"Set {{prompt_name}} to {QUERY!r} or {DOCUMENT!r}.",
    )


class LoadedModel(OpenModel):
    """An embedding model that stays loaded until it is closed or garbage-collected."""

    def __init__(self, resources: Resources) -> None:
        super().__init__(resources.engine, resources.checkpoint.path, resources.config.memory, resources.config.compute)
        self._resources = resources

    @property
    def config(self) -> EmbeddingConfig:
        """The configuration this service was made with."""
        return self._resources.config

    @property
    def settings(self) -> Settings:
        """What the configuration means for this model: pooling, dimensions, limit and prompts in force."""
        return self._resources.settings

    @property
    def checkpoint(self) -> Checkpoint:
        """What the model's folder says."""
        return self._resources.checkpoint

    @property
    def dimension(self) -> int:
        """The length of the vectors."""
        return self.settings.dimensions

    @property
    def truncation_side(self) -> str:
        """The side that texts that are too long lose, as the model's tokenizer says: "right" or "left"."""
        return self._resources.tokenizer.truncation_side

    def __repr__(self) -> str:
        adapter = f", adapter={self.config.adapter!r}" if self.config.adapter else ""
        return self._describe(f"{self.config.model_name!r}{adapter}, dimension={self.dimension}")

    @property
    def outputs(self) -> tuple[str, ...]:
        """What ``encode`` can make of a text: "dense", "sparse", "tokens", one or more of them."""
        return self.checkpoint.outputs

    def fingerprint(
        self,
        prompt: str | None = None,
        *,
        prompt_name: str | None = None,
        precision: str = "float32",
        output: str | None = None,
    ) -> str:
        """The fingerprint of vectors of texts with this prompt, or as ``embed`` makes them; see ``EmbeddingResult``.

        A precision other than float32 is appended, since vectors of two precisions must not be mixed. ``output`` is the
        first of ``outputs`` by default. Token vectors of queries and documents have different ones; without a
        ``prompt_name`` it is that of documents.

        Raises:
            ConfigurationError: The model does not have the output, or no prompt of that name.
            InputError: The precision is unknown, or ``prompt_name`` says neither query nor document of token vectors.
        """
        output = self.outputs[0] if output is None else output
        check_output(self.checkpoint, output)
        role = None
        if output == TOKENS:
            prompt_name = DOCUMENT if (prompt, prompt_name) == (None, None) else prompt_name
            role = DOCUMENT if prompt_name is None else role_of(prompt_name)
        text = self.resolve_prompt(prompt=prompt, prompt_name=prompt_name)
        return self._fingerprint(text, precision, output, role)

    def _fingerprint(self, prompt: str, precision: str, output: str, role: str | None) -> str:
        check_precision(precision)
        appended = self._resources.tokenizer.appended
        name = fingerprint(self.checkpoint, self.settings, prompt, output, role=role, appended=appended)
        return name if precision == "float32" else f"{name}-{precision}"

    def token_limit(self, *, output: str | None = None, prompt_name: str | None = None) -> int:
        """The most tokens of a text, special tokens included: ``settings.max_tokens``, but for ColBERT's queries."""
        return self.settings.token_limit(prompt_name if output == TOKENS else None)

    def resolve_prompt(
        self, *, prompt_name: str | None = None, prompt: str | None = None, task: str | None = None
    ) -> str:
        """The text that ``encode`` with these arguments puts before each text."""
        return self._resources.prompter.resolve(prompt_name=prompt_name, prompt=prompt, task=task)

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Begin and end of each of the text's tokens, in characters, without prompt, special tokens and limit.

        Raises:
            InputError: The text is not a string, or not valid Unicode.
        """
        return self._resources.tokenizer.offsets(check_text(text))

    def token_strings(self, indices: Iterable[int]) -> list[str]:
        """The tokens of a sparse vector's indices, as the model's vocabulary has them; "" for one that it lacks.

        Raises:
            InputError: An index is no integer, or negative, or beyond int32; ``field`` says which.
        """
        return self._resources.tokenizer.strings(indices)

    def count_tokens(self, texts: Iterable[str], *, prompt: str = "") -> list[int]:
        """How many tokens each text has with the prompt and special tokens; ``encode`` keeps ``settings.max_tokens``.

        Raises:
            InputError: A text is not a string, or cannot be tokenized; ``index`` says which.
        """
        return self._resources.tokenizer.encode(check_texts(texts), prompt, exact_counts=True).counts

"""A loaded reranker with its configuration: what it is, and what its scores depend on."""

from akidb_embeddings.checkpoint.reranker import RerankerCheckpoint
from akidb_embeddings.config.rerank import RerankConfig
from akidb_embeddings.reranking.inputs import check_activation
from akidb_embeddings.reranking.resources import RerankResources, choose_prompt
from akidb_embeddings.service.open_model import OpenModel


class LoadedReranker(OpenModel):
    """A reranker that stays loaded until it is closed or garbage-collected."""

    def __init__(self, resources: RerankResources) -> None:
        super().__init__(resources.engine, resources.checkpoint.path, resources.config.memory, resources.config.compute)
        self._resources = resources

    @property
    def config(self) -> RerankConfig:
        """The configuration this service was made with."""
        return self._resources.config

    @property
    def checkpoint(self) -> RerankerCheckpoint:
        """What the model's folder says."""
        return self._resources.checkpoint

    @property
    def max_tokens(self) -> int:
        """The largest number of tokens of a pair, query and special tokens included."""
        return self._resources.max_tokens

    @property
    def truncation_side(self) -> str:
        """The side that pairs that are too long lose, as the model's tokenizer says: "right" or "left"."""
        return self._resources.tokenizer.truncation_side

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the scores that a pair gets: one for a reranker, more for a classifier of pairs."""
        return self.checkpoint.labels

    @property
    def activation(self) -> str:
        """The trained activation of the scores: "sigmoid", scores from 0 to 1, or "identity", any number."""
        return self.checkpoint.activation

    @property
    def instruction(self) -> str | None:
        """The instruction in force; None if the model takes none."""
        return self._resources.prompt if self.checkpoint.framed else None

    def __repr__(self) -> str:
        return self._describe(f"{self.config.model_name!r}, max_tokens={self.max_tokens}")

    def fingerprint(
        self, *, instruction: str | None = None, prompt_name: str | None = None, activation: str = "model"
    ) -> str:
        """What scores with these arguments depend on; scores of different fingerprints must not be compared.

        Raises:
            ConfigurationError, InputError: As in ``score``.
        """
        return self._resources.fingerprint(self._prompt(instruction, prompt_name), self._activation(activation))

    def _prompt(self, instruction: str | None, prompt_name: str | None) -> str:
        if instruction is None and prompt_name is None:
            return self._resources.prompt
        return choose_prompt(self.checkpoint, instruction, prompt_name)

    def _activation(self, name: str) -> str:
        return self.activation if check_activation(name) == "model" else name

"""What a client asks for besides its texts, whatever the protocol."""

from dataclasses import dataclass, field
from typing import Any

from akidb_embeddings.errors import InputError, Names
from akidb_embeddings.registry.outputs import DENSE
from akidb_embeddings.server.calls.truncation import check_side
from akidb_embeddings.service.service import EmbeddingService


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """The options of a request. None means the server's configuration.

    At most one of ``prompt_name``, ``prompt``, ``task`` and ``input_type`` may be given, but a task for queries.

    Attributes:
        prompt_name: The name of one of the model's prompts.
        prompt: A text to put before each text.
        task: An instruction for queries.
        input_type: What the texts are for; see ``prompting``.
        truncate: "end" or "error".
        truncation_direction: The side that texts that are too long are to lose, "right" or "left".
        max_tokens: The length in tokens to which texts are to be cut.
        precision: The form of the vectors.
        output: What each text is to become, of ``OUTPUTS``.
        keep_alive: For how many seconds after the request its model stays loaded; negative or infinite for ever.
        names: What the client calls arguments, where its protocol has several names for one.
    """

    model: str | None = None
    pooling: str | None = None
    normalize: bool | None = None
    prompt_name: str | None = None
    prompt: str | None = None
    task: str | None = None
    input_type: str | None = None
    dimensions: int | None = None
    truncate: str | None = None
    truncation_direction: str | None = None
    max_tokens: int | None = None
    precision: str | None = None
    output: str | None = None
    keep_alive: float | None = None
    names: Names = field(default_factory=dict)

    @property
    def form(self) -> str:
        """The precision in force."""
        return "float32" if self.precision is None else self.precision

    @property
    def kind(self) -> str:
        """The output in force."""
        return DENSE if self.output is None else self.output

    @property
    def changes(self) -> dict[str, Any]:
        """The arguments of ``EmbeddingService.with_options``."""
        return {name: getattr(self, name) for name in ("pooling", "normalize", "dimensions", "truncate")}


def check_cuts(options: EmbedOptions, service: EmbeddingService) -> None:
    """Refuse what other servers can cut and this one cannot, where it would change a vector.

    Raises:
        InputError: The request asks for the other side, or for shorter texts.
    """
    check_side(options.truncation_direction, service.truncation_side, "texts")
    length, limit = options.max_tokens, service.settings.max_tokens
    if length is not None and length < limit:
        raise InputError(
            field="max_tokens",
            limit=limit,
            reason=f"is {length}; this server cuts texts at {limit} tokens only, as it is configured. Leave it out, or "
            f"give {limit} or more.",
        )

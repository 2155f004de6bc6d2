"""One call's texts, with one prompt, to what ``encode`` returns."""

from abc import abstractmethod
from typing import Any

from akidb_embeddings.service.job import Job
from akidb_embeddings.service.resources import Resources
from akidb_embeddings.service.result import Result
from akidb_embeddings.tokenization.tokenizer import Tokenized


class TextsJob(Job):
    """Texts with one prompt, to be ``run`` once.

    Attributes:
        output: Which output it is, of ``OUTPUTS``.
        prompt: The prompt before each text.
        precision: The precision of the vectors.
        role: Whether texts are queries or documents, where their vectors differ in more than the prompt.
    """

    output: str
    precision = "float32"
    role: str | None = None

    def __init__(
        self,
        resources: Resources,
        texts: list[str],
        prompt: str,
        pooling: str | None = None,
        limit: int | None = None,
        **options: Any,
    ) -> None:
        """``pooling`` and ``limit`` replace the output and the model's limit; ``options`` are those of ``Job``."""
        limit = limit or resources.settings.max_tokens
        super().__init__(resources.config, resources.engine, len(texts), limit, **options)
        self._resources, self._texts, self._pooling = resources, texts, pooling or self.output
        self.prompt, self._prefix = prompt, len(prompt)

    @abstractmethod
    def result(self, fingerprint: str) -> Result:
        """What the call returns, once it has run."""

    def _length(self, index: int) -> int:
        return len(self._texts[index])

    def _encode(self, begin: int, end: int) -> Tokenized:
        return self._resources.tokenizer.encode(self._texts[begin:end], self.prompt, self._first + begin)

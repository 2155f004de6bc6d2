"""What adapters to other frameworks share: settings that ``RerankConfig`` does not have, and the best of all hits.

Importing it loads neither MLX nor a tokenizer.
"""

import logging
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from akidb_embeddings.config.rerank import ACTIVATIONS
from akidb_embeddings.config.rules import BOOLEAN, COUNT, Rule, choice

if TYPE_CHECKING:
    from akidb_embeddings.reranking.result import Hit
    from akidb_embeddings.reranking.service import RerankService

_log = logging.getLogger(__name__)

SETTINGS: Mapping[str, Rule] = {
    "top_n": COUNT._replace(optional=True),
    "activation": choice(*ACTIVATIONS),
    "max_over_passages": BOOLEAN,
}
"""The rules of an adapter's settings besides the fields of ``RerankConfig``: see ``RerankService.rerank``."""

# Services that have warned: an adapter holds a configuration alone, and the frameworks have no place for ``truncated``.
_warned: "weakref.WeakSet[RerankService]" = weakref.WeakSet()


def best(service: "RerankService", hits: "Sequence[Hit]", top_n: int | None) -> "Sequence[Hit]":
    """The first ``top_n`` of a service's hits, None for all. Logs the first time that any of all hits is truncated."""
    truncated = sum(hit.truncated for hit in hits)
    if truncated and service not in _warned:
        _warned.add(service)
        _log.warning(
            "%d of %d documents were truncated: with the query, they have more than %d tokens. truncate='error' "
            "rejects them, and max_over_passages=True reads them whole. Later ones are truncated without a warning.",
            truncated,
            len(hits),
            service.max_tokens,
        )
    return hits[:top_n]

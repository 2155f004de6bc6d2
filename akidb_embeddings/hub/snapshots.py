"""Snapshots of the Hugging Face cache that may lack files with settings: the hub knows whether it has them."""

import logging
from pathlib import Path

from akidb_embeddings.hub.listing import list_files
from akidb_embeddings.hub.missing import is_offline
from akidb_embeddings.hub.resolve import ModelFiles, Source
from akidb_embeddings.registry import AnySpec

# A model is loaded without them, but with other prompts, limits, tokens or scores than its authors'. A download that
# failed at one of these small files leaves such a snapshot.
_SETTINGS = ("config_sentence_transformers.json", "sentence_bert_config.json", "tokenizer_config.json")
# Of a model that the registry knows, it has the others' contents.
_SETTINGS_OF_KNOWN = ("tokenizer_config.json",)
# Seconds: what is to be loaded is on this machine already.
_TIMEOUT = 5.0

_log = logging.getLogger(__name__)


def whole_snapshot(
    source: Source[AnySpec], found: ModelFiles[AnySpec] | None, *, may_ask: bool
) -> ModelFiles[AnySpec] | None:
    """The model that was found; None if it is a snapshot without a file of settings that the repository has.

    Where the hub does not tell, a warning names the files that are not there.

    Args:
        source: The model.
        found: What was found on this machine.
        may_ask: Whether the hub may be asked. ``HF_HUB_OFFLINE`` also forbids it.
    """
    if found is None or found.origin != "huggingface":
        return found
    settings = _SETTINGS if found.spec is None else _SETTINGS_OF_KNOWN
    absent = [name for name in settings if not (found.path / name).is_file() and not _is_known_absent(found.path, name)]
    if not absent:
        return found
    if may_ask and not is_offline():
        try:
            listed = list_files(source, revision=found.revision, timeout=_TIMEOUT)[1]
        except Exception as error:  # huggingface_hub has had three HTTP clients, each with its own errors
            _log.debug("The hub was not reached", exc_info=error)
        else:
            lacking = [name for name in absent if name in listed]
            if lacking:
                _log.warning("%s is not used: incomplete, without %s", found.path, ", ".join(lacking))
            return None if lacking else found
    _log.warning(
        "%s has no %s. If its repository has, vectors or scores differ from its authors': `%s` asks the hub.",
        found.path,
        ", ".join(absent),
        source.command,
    )
    return found


def _is_known_absent(snapshot: Path, name: str) -> bool:
    """Whether huggingface_hub has noted that the repository has no such file at this commit."""
    return (snapshot.parents[1] / ".no_exist" / snapshot.name / name).is_file()

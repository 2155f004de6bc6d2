"""Which architecture a config.json means: models of different ones may give the same ``model_type``."""

from akidb_embeddings.registry.architectures import ARCHITECTURES, Architecture, Config
from akidb_embeddings.registry.named_classes import named_classes


def architecture_name(config: Config) -> str:
    """The key in ``ARCHITECTURES`` that config.json means: ``model_type``, unless that is a twin's."""
    meant = (name for name, architecture in ARCHITECTURES.items() if _is_meant(architecture, config))
    return next(meant, str(config.get("model_type")))


def _is_meant(architecture: Architecture, config: Config) -> bool:
    """Whether config.json gives the ``model_type`` of a twin, but means this architecture."""
    kind = config.get("model_type")
    if not kind or kind not in (architecture.twin, architecture.causal_twin):
        return False
    goes_both_ways = kind == architecture.causal_twin and config.get("is_causal") is False
    return goes_both_ways or architecture.remote_code in named_classes(config)

"""The documented place of ``MTEBEncoder``, which is defined in ``evaluation.mteb_encoder``."""

from akidb_embeddings.evaluation.mteb_encoder import MTEBEncoder

__all__ = ["MTEBEncoder"]

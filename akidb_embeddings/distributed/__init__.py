"""Embedding with Ray, on one machine or many: ``Embedder`` for Ray Data, ``Pool`` for lists of texts in order.

``embedder`` has the one, ``pool`` the other, with its ``work_queue``; ``cluster`` joins a Ray cluster and sets up its
actors.

Each actor is a process with one engine, which loads the weights once and computes with as many threads as Ray assigned
CPUs to the actor. Actors take their settings from the arguments alone: a configuration file on one node must not lead
to other vectors there.
"""

from akidb_embeddings.distributed.cluster import keep_to_assigned_cpus
from akidb_embeddings.distributed.embedder import Embedder
from akidb_embeddings.distributed.pool import Pool

__all__ = ["Embedder", "Pool", "keep_to_assigned_cpus"]

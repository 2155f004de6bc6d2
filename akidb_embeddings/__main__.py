"""``python -m akidb_embeddings``: the command line."""

import sys

from akidb_embeddings.cli import run

sys.exit(run())

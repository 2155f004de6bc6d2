"""``python -m tests.gpu.program serve …``: ``akidb-embed`` on the GPU, or on what stands in for it."""

import sys

from akidb_embeddings.cli import main
from tests.gpu.device import prepare_program

if __name__ == "__main__":
    prepare_program()
    sys.exit(main())

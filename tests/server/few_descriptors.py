"""``akidb-embed`` as a process that may open few files, like one on macOS by default."""

import resource
import sys

from akidb_embeddings.cli import main

if __name__ == "__main__":
    number = 160
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))
    sys.exit(main())

"""Write docs/openapi.json, the description of the REST server, from its code.

Run: ``python scripts/openapi.py`` in an environment with ``akidb-embeddings[server]``. With ``--check`` it writes
nothing, and exits with 1 if the file is not what it would write.
"""

import argparse
import json
import sys
from pathlib import Path

from akidb_embeddings.server.app import describe

FILE = Path(__file__).parent.parent / "docs" / "openapi.json"


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the description of the REST server.")
    parser.add_argument("file", nargs="?", type=Path, default=FILE)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the file differs")
    options = parser.parse_args()
    text = json.dumps(describe().openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if not options.check:
        options.file.write_text(text, encoding="utf-8")
    elif not options.file.is_file() or options.file.read_text(encoding="utf-8") != text:
        sys.exit(f"{options.file} is not what the code says; run `python scripts/openapi.py`")


if __name__ == "__main__":
    main()

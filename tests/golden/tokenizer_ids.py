r"""Token ids that transformers gives for every folder of ``tokenizer_folders.py``.

Run it once in an environment with each version, then join the two::

    tf5/bin/pip install transformers==5.24.0 tokenizers==0.23.3 sentencepiece==0.2.3 protobuf==7.36.2
    tf4/bin/pip install transformers==4.57.6 tokenizers==0.22.2 sentencepiece==0.2.3 protobuf==7.36.2
    tf5/bin/python -m tests.golden.tokenizer_ids ids 5.json
    tf4/bin/python -m tests.golden.tokenizer_ids ids 4.json
    python -m tests.golden.tokenizer_ids join 5.json 4.json

Neither torch nor the network is needed.
"""

# ruff: noqa: T201 (a script tells what it wrote)

import argparse
import gzip
import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "critical", "HF_HUB_OFFLINE": "1"}

from tests.golden.tokenizer_changes import changes
from tests.golden.tokenizer_folders import FAMILIES, TEXTS, write_folder

FILE = Path(__file__).resolve().parent.parent / "data" / "golden" / "tokenizer-ids.json.gz"


def token_ids(folder: Path) -> list[list[int]] | str:
    """The ids of each text; the error's kind if the folder cannot be loaded."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        return [list(tokenizer(text)["input_ids"]) for text in TEXTS]
    except BaseException as error:  # tokenizers' PanicException is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        return type(error).__name__


def all_ids() -> dict[str, Any]:
    import tokenizers
    import transformers

    families: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as parent:
        for family in FAMILIES:
            families[family] = {
                name: token_ids(write_folder(Path(parent) / f"{family}-{index}", family, change))
                for index, (name, change) in enumerate(changes(family))
            }
            print(family, len(families[family]))
    return {"versions": [transformers.__version__, tokenizers.__version__], "families": families}


def join(first: Path, second: Path) -> None:
    """Both versions' ids in one file: a table of encodings for each family, and for each change two rows in it."""
    five, four = (json.loads(file.read_text()) for file in (first, second))
    families: dict[str, Any] = {}
    for family, results in five["families"].items():
        table: dict[str, int] = {}
        rows = {name: [_row(table, results[name]), _row(table, four["families"][family][name])] for name in results}
        families[family] = {"encodings": [json.loads(one) for one in table], "changes": rows}
    result = {"versions": [five["versions"], four["versions"]], "families": families}
    text = json.dumps(result, ensure_ascii=False, separators=(",", ":"))
    FILE.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(FILE, FILE.stat().st_size)


def _row(table: dict[str, int], ids: Any) -> Any:
    """A row of ``table``, added if it is new; an error stays as it is."""
    return ids if isinstance(ids, str) else table.setdefault(json.dumps(ids), len(table))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("ids", "join"))
    parser.add_argument("files", nargs="+", type=Path)
    arguments = parser.parse_args()
    if arguments.step == "join":
        join(*arguments.files)
    else:
        arguments.files[0].write_text(json.dumps(all_ids()))


if __name__ == "__main__":
    main()

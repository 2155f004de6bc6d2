"""The arguments of ``akidb-embed file``."""

from argparse import ArgumentParser

from akidb_embeddings.bulk import INPUT_FORMATS, OUTPUT_FORMATS
from akidb_embeddings.cli.options import add_model_options, add_precision_option, add_prompt_options


def add_arguments(parser: ArgumentParser) -> None:
    """Add what to read, what to write, and how to embed."""
    parser.add_argument(
        "input", metavar="INPUT", help="a file (line formats also as .gz or .zst), a folder of .txt and .md files, or -"
    )
    parser.add_argument("--out", metavar="OUT", required=True, help="the file to write")
    parser.add_argument(
        "--format",
        choices=INPUT_FORMATS,
        help="the input's format (default: by its name; for -, jsonl if the first line is a JSON object, else lines)",
    )
    parser.add_argument("--out-format", choices=OUTPUT_FORMATS, help="the output's format (default: by its name)")
    parser.add_argument("--text-field", metavar="NAME", help="the field of the text (default: text)")
    parser.add_argument(
        "--id-field",
        metavar="NAME",
        help="the field of the id (default: the row's number from 0; for files, their path)",
    )
    parser.add_argument("--with-text", action="store_true", help="jsonl: also write the texts")
    parser.add_argument(
        "--passages", metavar="SIZE", type=int, help="split texts into passages of at most SIZE tokens of the model"
    )
    parser.add_argument(
        "--overlap",
        metavar="N",
        type=int,
        default=0,
        help="tokens of the previous passage that a passage repeats (default: 0)",
    )
    parser.add_argument("--strict", action="store_true", help="stop at the first row that cannot be embedded")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the output and parts of another job; if the input is a pipe, also those of this job",
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="embed on a Ray cluster: host:port of its head, auto on one of its nodes, or local for this machine",
    )
    parser.add_argument(
        "--actor-cpus",
        metavar="N",
        type=int,
        help="--ray: CPUs, and thus threads, of each actor; each loads the model (default: 1)",
    )
    add_prompt_options(parser)
    add_precision_option(parser)
    add_model_options(parser)

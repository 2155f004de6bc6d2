"""``akidb-embed convert``: a Hugging Face checkpoint to MLX's format."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from akidb_embeddings.checkpoint import read_checkpoint
from akidb_embeddings.cli.command import Command
from akidb_embeddings.cli.options import add_place_options, add_revision_option, configuration
from akidb_embeddings.cli.output import size
from akidb_embeddings.convert import BITS, GROUP_SIZES, convert
from akidb_embeddings.errors import InputError
from akidb_embeddings.hub import resolve_model

_GROUP_SIZE = 64


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="a model folder, or a Hugging Face repository to download")
    parser.add_argument("destination", metavar="DEST", type=Path, help="a folder that does not exist yet, or is empty")
    parser.add_argument("--bits", type=int, choices=BITS, help="bits a weight (default: weights stay as they are)")
    parser.add_argument(
        "--group-size", type=int, choices=GROUP_SIZES, help=f"weights that share a scale (default: {_GROUP_SIZE})"
    )
    add_revision_option(parser)
    add_place_options(parser)


def _run(options: Namespace) -> int:
    if options.group_size and not options.bits:
        raise InputError("--group-size says how to quantize: give --bits too")
    config = configuration(options)
    # The configured revision is that of the configured model, not of this one.
    revision = vars(options).get("revision")
    files = resolve_model(
        options.source, revision=revision, cache_dir=config.cache_dir, auto_download=config.auto_download
    )
    tensors = read_checkpoint(files.path, files.spec).tensors
    before = sum(file.stat().st_size for file in {location.file for location in tensors.values()})
    group_size = options.group_size or _GROUP_SIZE
    result = convert(files.path, options.destination, bits=options.bits, group_size=group_size)
    how = f" to {options.bits} bits, group size {group_size}" if options.bits else ""
    print(
        f"{result.path}: {size(before)} -> {size(result.size_bytes)}, "
        f"{result.quantized} of {result.tensors} tensors quantized{how}"
    )
    return 0


CONVERT = Command(
    "convert a Hugging Face checkpoint to MLX's format, quantized or not",
    _add_arguments,
    _run,
    "akidb-embed convert BAAI/bge-small-en-v1.5 ./bge-small-8bit --bits 8",
    "The result has the layout mlx-community uses, and loads like every other folder: --model ./bge-small-8bit.",
)

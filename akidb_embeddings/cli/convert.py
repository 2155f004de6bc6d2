"""``akidb-embed convert``: a Hugging Face checkpoint to MLX's format."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.cli.command import Command
from akidb_embeddings.cli.downloads import confirm_download
from akidb_embeddings.cli.options import add_location_options, add_revision_option, configuration
from akidb_embeddings.cli.output import print_message, shorten, size
from akidb_embeddings.conversion.convert import BITS, DTYPES, GROUP_SIZES, convert
from akidb_embeddings.errors import InputError
from akidb_embeddings.hub.download import resolve_model

if TYPE_CHECKING:
    from akidb_embeddings.conversion.convert import Conversion
    from akidb_embeddings.diagnostics.quality import Quality

_GROUP_SIZE = 64
_LABEL_WIDTH = 48


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="a model folder, or a Hugging Face repository to download")
    parser.add_argument("destination", metavar="DEST", type=Path, help="a folder that does not exist yet, or is empty")
    parser.add_argument("--bits", type=int, choices=BITS, help="bits per weight (default: weights are not quantized)")
    parser.add_argument(
        "--group-size", type=int, choices=GROUP_SIZES, help=f"weights that share a scale (default: {_GROUP_SIZE})"
    )
    parser.add_argument("--mixed", action="store_true", help="keep the token embeddings at 8 bits when --bits is lower")
    parser.add_argument(
        "--dtype", choices=DTYPES, help="dtype of tensors that are not quantized, and of scales (default: the source's)"
    )
    parser.add_argument(
        "--no-quality",
        dest="measure",
        action="store_false",
        help="do not compare vectors with the source's (default: compare, which loads one model after the other)",
    )
    add_revision_option(parser)
    add_location_options(parser)


def _run(options: Namespace) -> int:
    if not options.bits and (options.group_size or options.mixed):
        raise InputError(f"{'--mixed' if options.mixed else '--group-size'} says how to quantize: give --bits too")
    config = configuration(options)
    # The configured revision belongs to the configured model, not to this one.
    revision = vars(options).get("revision")
    confirm_download(config.with_values(model_name=options.source, revision=revision), options)
    files = resolve_model(
        options.source, revision=revision, cache_dir=config.cache_dir, auto_download=config.auto_download
    )
    tensors = read_checkpoint(files.path, files.spec).tensors
    before = sum(file.stat().st_size for file in {location.file for location in tensors.values()})
    group_size = options.group_size or _GROUP_SIZE
    if options.measure:
        print_message("converting, then comparing vectors, which takes longer; --no-quality skips the comparison")
    result = convert(
        files.path,
        options.destination,
        bits=options.bits,
        group_size=group_size,
        mixed=options.mixed,
        dtype=options.dtype,
        spec=files.spec,
        measure=options.measure,
    )
    print(f"{result.path}: {size(before)} -> {size(result.size_bytes)}, {_describe(result, options, group_size)}")
    if result.quality:
        print(_quality_line(result.quality))
    return 0


def _describe(result: "Conversion", options: Namespace, group_size: int) -> str:
    parts = [f"{result.quantized} of {result.tensors} tensors quantized"]
    if options.bits:
        parts[0] += f" to {options.bits} bits, group size {group_size}"
    if options.mixed:
        parts.append("token embeddings to 8 bits")
    if result.kept:
        noun = "matrix" if result.kept == 1 else "matrices"
        parts.append(f"{result.kept} {noun} kept, with rows that do not divide into groups of {group_size}")
    if options.dtype:
        parts.append(f"{'the rest' if options.bits else 'all'} in {options.dtype}")
    return ", ".join(parts)


def _quality_line(quality: "Quality") -> str:
    text = shorten(quality.texts[quality.worst_text], _LABEL_WIDTH)
    line = (
        f"quality: cosine to full precision mean {_cosine(quality.mean)}, worst {_cosine(quality.worst)} "
        f'(text {quality.worst_text + 1} of {len(quality.texts)}: "{text}")'
    )
    return f"{line}; the model does not say how to pool, so {quality.pooling} was used" if quality.assumed else line


def _cosine(value: float) -> str:
    """A cosine with four digits, or with six where four would show 1."""
    return f"{value:.4f}" if value < 0.9995 else f"{value:.6f}"


CONVERT = Command(
    "convert a Hugging Face checkpoint to MLX's format, quantized or not",
    _add_arguments,
    _run,
    "akidb-embed convert BAAI/bge-small-en-v1.5 ./bge-small-8bit --bits 8",
    """\
The result has the layout that mlx-community uses, and loads like any other folder: --model ./bge-small-8bit. Where the
source's folder lacks pooling, prompts or limits that this library knows, they are added to the result.

The last line compares the vectors of source and result for built-in texts: the mean and the lowest cosine.""",
)

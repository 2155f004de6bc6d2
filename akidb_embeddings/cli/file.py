"""``akidb-embed file``: embeds a whole corpus into a file of vectors, resumable."""

import contextlib
import functools
import os
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from akidb_embeddings.cli.command import Command
from akidb_embeddings.cli.file_arguments import add_arguments
from akidb_embeddings.cli.options import configuration, open_service, prompt_options
from akidb_embeddings.cli.output import print_message, size
from akidb_embeddings.errors import EmbeddingError, InputError
from akidb_embeddings.registry.outputs import DENSE

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from akidb_embeddings.bulk.journal import JobDescription, Journal
    from akidb_embeddings.bulk.outputs import Output
    from akidb_embeddings.bulk.progress import Progress
    from akidb_embeddings.bulk.rows import RowOrReject
    from akidb_embeddings.bulk.run import EmbedFunction
    from akidb_embeddings.bulk.sources import RowSource
    from akidb_embeddings.service.service import EmbeddingService

REJECTED = 3


def _run(options: Namespace) -> int:
    from akidb_embeddings.bulk.outputs import Layout, make_output, output_format
    from akidb_embeddings.bulk.resume import open_journal

    out = _output_path(options)
    form = output_format(Path(options.out), options.out_format)
    if options.with_text and form != "jsonl":
        raise InputError(f"--with-text is for JSON lines; {form} has no place for texts.")
    if options.overlap and options.passages is None:
        raise InputError("--overlap is for --passages SIZE.")
    if options.actor_cpus is not None and (options.ray is None or options.actor_cpus < 1):
        raise InputError(f"--actor-cpus is {options.actor_cpus}; it is for --ray ADDRESS, and at least 1.")
    with (
        contextlib.closing(_open_source(options)) as source,  # first, so that its errors come before a model is loaded
        open_service(configuration(options), options) as service,
    ):
        prompt = service.resolve_prompt(**prompt_options(options))
        metadata = _metadata(options, service, prompt)
        output = make_output(form, Layout(metadata, options.passages is not None, options.with_text))
        job = _job(options, service, metadata, form, source.identity)
        with _report_os_errors(open_journal(out, job, overwrite=options.overwrite), out) as journal:
            if journal.finished:
                done = f"{out} is finished already, with fingerprint {metadata['fingerprint']}"
                if options.input == "-":
                    print_message(
                        f"warning: {done}; what is on standard input was NOT embedded. To embed it: --overwrite, or "
                        "another --out"
                    )
                else:
                    print_message(f"{done}: nothing to do. To compute it again, remove it first")
            else:
                _embed_rows(options, service, prompt, output, journal, source)
            return _outcome(out, journal)


def _embed_rows(
    options: Namespace,
    service: "EmbeddingService",
    prompt: str,
    output: "Output",
    journal: "Journal",
    source: "RowSource",
) -> None:
    """Embed all rows, close the model, assemble the output, and report."""
    from akidb_embeddings.bulk.first_rows import NothingEmbeddedError
    from akidb_embeddings.bulk.progress import Progress
    from akidb_embeddings.bulk.run import RejectPolicy, embed_remaining, how_to_resume
    from akidb_embeddings.bulk.writing import assemble_output

    if journal.complete:
        print_message(f"all rows are embedded already, in {journal.folder}; assembling the output")
    elif journal.parts:
        print_message(f"continuing after {journal.rows_done:,} rows, which are in {journal.folder}")
    source.skip = journal.rows_done
    settings = service.settings
    policy = RejectPolicy(options.strict, settings.max_tokens if service.config.truncate == "error" else None)
    progress = Progress(source.total_bytes, print_message, bar=sys.stderr.isatty(), limit=settings.max_tokens)
    try:
        with (
            contextlib.closing(progress),
            _embedding(options, service, prompt, journal, progress) as embed,
        ):
            items = _passages(options, service, prompt, source)
            read = (lambda: source.read_bytes, service.window_scale)
            embed_remaining(items, embed, output, journal, progress, policy, *read)
            progress.sample_memory()
        service.close()  # the last step needs its own memory
        assemble_output(output, journal, progress)
    except BaseException as error:
        if isinstance(error, NothingEmbeddedError):
            raise  # the same command would fail in the same way
        restarts = options.overwrite and source.total_bytes is None
        again = f"the same command{' without --overwrite' if restarts else ''}"
        print_message(
            f"{'interrupted' if isinstance(error, KeyboardInterrupt) else 'stopped'}. {how_to_resume(journal, again)}"
        )
        raise
    progress.sample_memory()
    _summarize(journal, progress, settings.max_tokens)
    if not (journal.counts.rows or journal.counts.rejects):
        print_message(f"warning: {'standard input' if options.input == '-' else options.input} has no rows")
    if source.has_changed:
        print_message(f"warning: {options.input} changed meanwhile; the vectors may come from two versions of it")


def _open_source(options: Namespace) -> "RowSource":
    from akidb_embeddings.bulk.sources import open_source

    field = options.text_field
    source = open_source(options.input, format=options.format, text_field=field or "text", id_field=options.id_field)
    form = source.identity["format"]
    if field is not None and form in ("lines", "folder"):
        source.close()
        kind = "a folder" if form == "folder" else "lines"
        raise InputError(f"--text-field is for formats with fields; {options.input} is read as {kind}.")
    if options.input == "-" and options.format is None and form == "jsonl":
        print_message(
            "standard input is read as JSON lines, because its first line is a JSON object; --format lines embeds the "
            "lines as they are"
        )
    return source


def _output_path(options: Namespace) -> Path:
    """The path of the output.

    Raises:
        InputError: The path cannot be written to, or is the input's.
    """
    out = Path(options.out)
    if out.is_symlink():  # its target is replaced, not the link
        out = out.resolve()
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; give a file in it.")
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: the folder {out.parent} does not exist. Create it: mkdir -p '{out.parent}'")
    if not os.access(out.parent, os.W_OK):
        raise InputError(f"--out {out}: the folder {out.parent.absolute()} cannot be written to.")
    for suffix in ("", ".json", ".ids.jsonl", ".rejects.jsonl"):
        path = out.with_name(out.name + suffix)
        if options.input != "-" and path.exists() and Path(options.input).exists() and path.samefile(options.input):
            raise InputError(f"--out {out} would write to {path}, which is the input; give another file.")
        if path.is_dir():
            raise InputError(f"--out {out} would write to {path}, which is a folder; move it, or give another --out.")
    return out


def _metadata(options: Namespace, service: "EmbeddingService", prompt: str) -> dict[str, Any]:
    """The metadata of the output, where its format has a place for them."""
    return {
        "fingerprint": service.fingerprint(prompt, precision=options.precision, output=DENSE),
        "model": service.config.model_name,
        "precision": options.precision,
        "dimension": service.dimension,
    }


def _job(
    options: Namespace, service: "EmbeddingService", metadata: dict[str, Any], form: str, identity: Any
) -> "JobDescription":
    """Everything that the output's bytes depend on, for the journal to compare."""
    return {
        **{name: value for name, value in metadata.items() if name != "model"},  # the fingerprint covers the model
        "out_format": form,
        "passages": options.passages,
        "overlap": options.overlap,
        "with_text": options.with_text,
        "truncate": service.config.truncate,
        "batch_size": service.config.batch_size,
        "memory": service.config.memory,
        "input": identity,
    }


def _passages(
    options: Namespace, service: "EmbeddingService", prompt: str, items: "Iterable[RowOrReject]"
) -> "Iterable[RowOrReject]":
    """The rows, or their passages.

    Raises:
        InputError: The size of passages exceeds the model's limit.
    """
    if options.passages is None:
        return items
    from akidb_embeddings.bulk.passages import PassageSplitter

    limit = service.settings.max_tokens
    if options.passages > limit:
        raise InputError(f"--passages is {options.passages}; the model sees {limit} tokens (see --max-tokens).")

    def count(text: str) -> int:
        return service.count_tokens([text], prompt=prompt)[0]

    return PassageSplitter(options.passages, options.overlap, service.token_offsets, count).split_rows(items)


@contextlib.contextmanager
def _embedding(
    options: Namespace, service: "EmbeddingService", prompt: str, journal: "Journal", progress: "Progress"
) -> "Iterator[EmbedFunction]":
    """The function that embeds. It truncates and flags long texts; the policy rejects them later if configured."""
    from akidb_embeddings.bulk.run import embed_concurrently

    form: dict[str, Any] = {"prompt": prompt, "precision": options.precision}
    with service.with_options(truncate="end") as cutting:
        if options.ray is None or journal.complete:
            encode = functools.partial(cutting.encode, wait=True, alone=True, **form)
            yield embed_concurrently(encode, progress.advance)
            return
        from akidb_embeddings.distributed import Pool

        with Pool(options.ray, cutting.config, cpus=options.actor_cpus or 1, **form) as pool:
            pool.check_fingerprint(cutting.fingerprint(**form))
            print_message(f"embedding with {pool.size} Ray actors, {options.actor_cpus or 1} CPUs each")
            yield pool.outcomes


@contextlib.contextmanager
def _report_os_errors(opening: "AbstractContextManager[Journal]", out: Path) -> "Iterator[Journal]":
    """Open the journal, with the operating system's errors as an EmbeddingError."""
    with contextlib.ExitStack() as stack:
        try:
            journal = stack.enter_context(opening)
        except OSError as error:
            raise EmbeddingError(f"{error.filename or out} cannot be written: {error.strerror or error}") from error
        yield journal


def _summarize(journal: "Journal", progress: "Progress", limit: int) -> None:
    counts, metadata = journal.counts, journal.job
    passages = f" as {counts.vectors:,} passages" if metadata["passages"] is not None else ""
    print_message(
        f"{counts.rows:,} rows{passages}, {counts.rejects:,} rejected, {counts.truncated:,} cut at {limit} tokens, "
        f"{counts.tokens:,} tokens"
    )
    footprint = f"footprint at most {size(progress.peak_bytes)}"
    if not progress.texts:  # all were embedded by earlier runs, or none could be
        print_message(footprint)
        return
    here = f" for the remaining {progress.texts:,}" if counts.vectors > progress.texts else ""
    print_message(f"{progress.seconds:,.1f} s{here}, {progress.rates}, {footprint}")


def _outcome(out: Path, journal: "Journal") -> int:
    """Print where the output is. Returns the exit code."""
    metadata, counts = journal.job, journal.counts
    print_message(
        f"{out}: {counts.vectors:,} vectors of {metadata['dimension']} dimensions, {metadata['precision']}, "
        f"fingerprint {metadata['fingerprint']}"
    )
    if counts.rejects:
        print_message(f"warning: {counts.rejects:,} were rejected; {out}.rejects.jsonl lists them with the reasons")
        return REJECTED
    return 0


FILE = Command(
    "embed a file or folder of any size to Parquet, NumPy or JSON lines, resumable",
    add_arguments,
    _run,
    "akidb-embed file articles.jsonl --text-field body --id-field id --out vectors.parquet",
    """\
Needs the extra bulk; without it, the error gives the command that installs it. Memory does not grow with the input.

OUT ends in .parquet (id, vector, tokens, truncated; with --passages also begin and end, in characters), .npy (with
OUT.ids.jsonl) or .jsonl. OUT.json describes it. Rows that cannot be read or embedded are listed with the reason in
OUT.rejects.jsonl, and the exit code is 3. If no row can be embedded, or none of the first thousand for one reason, the
command is at fault: it ends with an error, exit code 2, and leaves nothing.

Standard input is JSON lines if its first line is a JSON object, else plain lines; --format says otherwise.

If it is killed, the same command resumes where it stopped, and the result is the same to the last byte. Finished rows
are in OUT.parts until the end, when the output needs the same space again. Resuming with another model, option or input
is an error. Standard input must be sent again from its beginning: finished rows are skipped. See docs/bulk.md.

--ray also needs the extra ray. Reading and writing stay on this machine; see docs/scaling.md.""",
)

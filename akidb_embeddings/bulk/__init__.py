"""Embedding whole files: ``akidb-embed file`` (extra ``bulk``).

``sources`` reads the input (``text_sources``, ``table_sources``), ``passages`` splits long texts, ``run`` embeds,
``writing`` writes to one of ``outputs``, and ``journal`` and ``resume`` keep track of the finished parts. ``progress``
counts what is done, ``forecast`` estimates the rest, ``display`` shows both. Rows are streamed in a fixed order, so
that an interrupted run can resume where it stopped.
"""

INPUT_FORMATS = ("jsonl", "csv", "parquet", "lines", "folder")
"""What ``sources`` reads."""

OUTPUT_FORMATS = ("parquet", "npy", "jsonl")
"""What ``outputs`` writes: also the suffixes of the files."""

"""Embedding whole files: ``akidb-embed file`` (extra ``bulk``).

``sources`` reads the input (``text_sources`` by ``streams``, ``table_sources``, both from ``row_source``) as ``rows``,
``passages`` splits long texts, ``chunks`` groups them, ``run`` embeds, ``first_rows`` notices that none can be
embedded, and ``writing`` writes to one of ``outputs``, with ``arrow_columns`` for Parquet. ``journal`` and ``resume``
keep track of the finished parts, ``differences`` tells another job from this one, ``disk`` has atomic files.
``concurrency`` reads ahead and writes behind. ``progress`` counts what is done, ``forecast`` estimates the rest,
``display`` shows both. Rows are streamed in a fixed order, so that an interrupted run can resume where it stopped.
"""

INPUT_FORMATS = ("jsonl", "csv", "parquet", "lines", "folder")
"""What ``sources`` reads."""

OUTPUT_FORMATS = ("parquet", "npy", "jsonl")
"""What ``outputs`` writes: also the suffixes of the files."""

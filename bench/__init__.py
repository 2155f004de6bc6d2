"""The benchmark suite: ``pytest bench/``, ``make bench`` or ``akidb-embed bench``."""

"""Embedding whole files: ``akidb-embed file`` (extra ``bulk``).

rows.py says what flows through, sources.py reads it (text_sources.py, table_sources.py), passages.py cuts long texts.
All of it streams, in a fixed order, so that an interrupted run can go on where it stopped.
"""

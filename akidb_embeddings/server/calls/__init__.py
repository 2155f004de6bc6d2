"""Requests of all protocols, once they are parsed.

``handler`` handles them: ``admission`` has the limits, ``models`` the models, ``embed_call``, ``rerank_call`` and
``output_call`` (for sparse weights and token vectors) what clients ask for, ``embed_options``, ``prompting`` and
``durations`` what their options mean, ``describing`` what is told of models, ``truncation`` what is told of texts that
were cut, and ``api_error`` the form of errors. ``auth`` checks keys, ``health`` says whether the server is alive and
ready.
"""

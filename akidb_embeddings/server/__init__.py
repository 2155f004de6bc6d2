"""The library over the network: REST, the APIs of others, and gRPC, batched across all clients.

The modules use only the library's services, configuration and errors. ``handler`` handles requests of all protocols:
``admission`` has the limits, ``models`` the models, ``embed_call`` and ``rerank_call`` what clients ask for,
``embed_options``, ``prompting`` and ``durations`` what their options mean, ``truncation`` what is told of texts that
were cut, and ``api_error`` the form of errors. ``auth``, ``metrics``, ``logs`` and ``health`` are what their names
say. HTTP: ``app``, its ``middleware`` and ``access`` log, ``parsing`` and the schemas for bodies, ``responses`` for
what all routes share, and the routes, one module for each API: ``rest``, ``openai``, ``ollama``, ``tei`` and
``tei_embed`` (Text Embeddings Inference, whose ``/embed`` is ours, too), ``cohere`` and ``cohere_embed``; ``inputs``
has what several of them take, ``docs`` has Swagger UI, ``page`` the page at ``/``, whose files are in ``web/``. gRPC:
``rpc``, with the methods in ``servicer`` and their messages in ``messages``. OpenTelemetry: ``telemetry`` has traces,
``metrics_export`` metrics. ``run`` starts and stops the server, ``loading`` its models.
"""

"""The library over the network: REST, the APIs of others, and gRPC, batched across all clients.

The modules use only the library's services, configuration and errors. ``handler`` handles requests of all protocols:
``admission`` has the limits, ``models`` the models, ``embed_call``, ``rerank_call`` and ``output_call`` (for sparse
weights and token vectors) what clients ask for, ``embed_options``, ``prompting`` and ``durations`` what their options
mean, ``describing`` what is told of models, ``truncation`` what is told of texts that were cut, and ``api_error`` the
form of errors. ``auth``, ``metrics``, ``logs`` and ``health`` are what their names say.

HTTP: ``app``, its ``middleware`` and ``access`` log, ``parsing`` and the schemas for bodies, large ones by
``json_pieces``, ``content_encoding`` for compressed ones, ``responses`` for what all routes share. The routes are one
module for each API: ``rest``, ``openai``, ``ollama``, ``tei`` and ``tei_embed`` (Text Embeddings Inference, whose
``/embed`` is ours, too), ``cohere`` and ``cohere_embed``; ``inputs`` has what several of them take, ``admin`` loads and
unloads models, ``docs`` has Swagger UI, ``page`` the page at ``/``, whose files are in ``web/``.

gRPC: ``rpc``, with the methods in ``servicer`` and their messages in ``messages``. OpenTelemetry: ``telemetry`` has
traces, ``metrics_export`` metrics. ``run`` starts and stops the server, ``loading`` makes the pool of its models and
``reloading`` changes it; ``listening`` has the sockets, ``connections`` those of clients, in ``http_protocol``, and
``descriptors`` how many there may be.
"""

"""The library over the network: REST, the APIs of others, and gRPC, batched across all clients.

It uses only the library's services, configuration and errors. Its parts import only from parts below them:

- ``run`` starts and stops the server, ``loading`` makes the pool of its models and ``reloading`` changes it; ``app``
  puts the HTTP APIs behind their middleware.
- ``dialects`` has the routes of each HTTP API, and ``rpc`` gRPC; ``embedding_pb2`` and ``embedding_pb2_grpc`` are
  generated from ``embedding.proto``.
- ``http`` has what all routes share, and the pages.
- ``calls`` handles requests of all protocols: limits, models, options, errors.
- ``sockets`` has the server's sockets and the clients' connections.
- ``observability`` has logs, metrics and traces.
"""

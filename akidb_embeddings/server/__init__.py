"""The core over the network: REST, OpenAI's shape and gRPC, batched across all clients.

Everything here knows the service, the configuration and the errors of the core, and nothing deeper. A request goes
``rest | openai | rpc -> desk -> EmbeddingService``; what it may be is in ``settings``, what refuses it in ``refusal``.
"""

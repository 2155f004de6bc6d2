"""The library over the network: REST, OpenAI's API and gRPC, batched across all clients.

Everything here uses the service, the configuration and the errors of the library, and nothing deeper. ``handler`` is
what all protocols share; ``api_error`` is the form of their errors, ``auth``, ``metrics``, ``logs`` and ``health`` what
their names say. HTTP is ``app``, with its ``middleware``, the routes in ``rest`` and ``openai``, ``schemas`` for bodies
and ``responses`` for what all routes do. gRPC is ``rpc`` with the calls in ``servicer``. ``run`` starts and ends it.
"""

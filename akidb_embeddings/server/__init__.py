"""The library over the network: REST, OpenAI's API and gRPC, batched across all clients.

The modules use only the library's service, configuration and errors. ``handler`` handles requests of all protocols,
and ``api_error`` has the form of their errors; ``auth``, ``metrics``, ``logs`` and ``health`` are what their names say.
HTTP: ``app``, its ``middleware``, the routes in ``rest`` and ``openai``, ``schemas`` for bodies, and ``responses`` for
what all routes share. gRPC: ``rpc``, with the methods in ``servicer``. ``run`` starts and stops the server.
"""

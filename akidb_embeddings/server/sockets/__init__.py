"""Sockets: ``listening`` has the server's, ``connections`` those of clients, in ``http_protocol``.

``descriptors`` says how many there may be.
"""

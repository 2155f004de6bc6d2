"""What the HTTP APIs share, and the pages.

``middleware`` is around every request, with ``content_encoding`` for compressed bodies, and ``access`` writes the
access log. ``parsing`` reads bodies, large ones by ``json_pieces``; ``schemas`` has what they may hold, ``responses``
what routes answer with. ``admin`` loads and unloads models, ``docs`` has Swagger UI, ``page`` the page at ``/``, whose
files are in ``web/``.
"""

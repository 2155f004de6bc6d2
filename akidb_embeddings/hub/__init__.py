"""Where models are: ``resolve`` finds them on this machine, ``download`` fetches them, ``cache`` is their layout."""

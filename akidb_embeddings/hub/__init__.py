"""Model files: ``resolve`` finds them on this machine, ``download`` downloads them, ``cache`` manages the cache."""

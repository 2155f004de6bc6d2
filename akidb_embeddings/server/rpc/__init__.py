"""gRPC: ``server`` listens, ``servicer`` has the methods, ``messages`` their messages."""

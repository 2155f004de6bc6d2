"""Conversion of checkpoints to MLX's format: ``convert`` writes weights, ``folder_writer`` the other files."""

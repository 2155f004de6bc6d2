"""Checkpoints to MLX's format: ``convert`` writes the weights, ``folder_writer`` the files beside them."""

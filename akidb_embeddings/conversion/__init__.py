"""Conversion of checkpoints to MLX's format: ``convert`` writes a folder.

``tensors`` makes its weights, ``torch_file`` reads those that there are in torch's format alone, ``folder_writer`` its
other files; ``vector_settings`` and ``score_settings`` add what the source's files do not say by themselves.
"""

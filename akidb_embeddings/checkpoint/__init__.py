"""Reading of model folders: JSON files, safetensors headers and tokenizers, without MLX.

``checkpoint`` reads the whole folder, ``folder`` its JSON files, ``modules`` its sentence-transformers modules,
``architecture`` and ``arguments`` its config.json, ``safetensors`` the locations of tensors, ``tokenizer`` its
tokenizer. ``integrity`` checks that the folder is complete, ``digest`` hashes it, ``settings`` applies a configuration
to it, ``prompts`` finds its prompts.
"""

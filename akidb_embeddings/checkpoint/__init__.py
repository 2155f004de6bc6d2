"""What a model folder says, read from JSON and from safetensors headers alone, without MLX.

``checkpoint`` reads the whole folder; ``modules`` its sentence-transformers modules, ``architecture`` and ``arguments``
its config.json, ``safetensors`` where each tensor is, ``tokenizer`` its tokenizer. ``integrity`` says whether the
folder is complete, ``settings`` applies a configuration to it, ``prompts`` finds its prompts.
"""

"""Reading of model folders: JSON files and safetensors headers, without MLX. ``tokenization`` reads their tokenizers.

``checkpoint`` reads the folder of a model that makes vectors, ``reranker`` of one that makes scores, ``base`` what both
have; ``classes`` and ``kinds`` say which it is. ``folder`` has the JSON files, ``modules`` and ``dense`` its
sentence-transformers modules, ``sparse`` what makes sparse weights, ``token_vectors`` what token vectors are,
``architecture`` and ``arguments`` its config.json, ``safetensors`` the locations of tensors. ``integrity`` checks that
the folder is complete, ``digest`` hashes it, ``settings`` applies a configuration to it, ``fingerprint``
names the space of its vectors, ``prompts`` finds its prompts.
``frame`` has the question that a reranker puts to a language model.

``adapter`` matches a LoRA adapter with a model's tensors, ``adapter_config`` has its settings.

``static`` completes the configuration of static models.

A folder may come from anybody. ``json_file`` and ``safetensors`` limit size and nesting, ``fields`` checks types and
bounds, ``config_checks`` those of config.json, ``dtypes`` each tensor's dtype, ``tokenizer_checks`` tokenizer.json.
"""

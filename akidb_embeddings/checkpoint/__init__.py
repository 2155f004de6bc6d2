"""Reading of model folders: JSON files, safetensors headers and tokenizers, without MLX.

``checkpoint`` reads the folder of a model that makes vectors, ``reranker`` of one that makes scores, ``base`` what both
have; ``classes`` and ``kinds`` say which it is. ``folder`` has the JSON files, ``modules`` and ``dense`` its
sentence-transformers modules, ``sparse`` what makes sparse weights, ``token_vectors`` what token vectors are,
``architecture`` and ``arguments`` its config.json, ``safetensors`` the locations of tensors, ``tokenizer`` its
tokenizer. ``integrity`` checks that the folder is complete, ``digest`` hashes it, ``settings`` applies a configuration
to it, ``prompts`` finds its prompts.

``adapter`` matches a LoRA adapter with a model's tensors, ``adapter_config`` has its settings.

``static`` completes the configuration of static models, ``static_tokenizer`` tokenizes for them.

Of the tokenizer, ``tokenizer_file`` and ``special_tokens`` apply what the folder's files say, ``final_token`` appends
what a conversion dropped, ``tokenizer_versions`` and ``rebuilt_tokenizer`` find where transformers 4 and 5 differ,
``long_texts`` cuts texts far beyond the limit.

Of pairs, ``pair_tokenizer`` makes token ids, ``pair_template`` knows the special tokens around them, and ``frame`` the
question to a language model.

A folder may come from anybody. ``json_file`` and ``safetensors`` limit size and nesting, ``fields`` checks types and
bounds, ``config_checks`` those of config.json, ``dtypes`` each tensor's dtype, ``tokenizer_checks`` tokenizer.json.
"""

"""Texts and pairs to token ids, as the files of a model's folder say, without MLX.

``tokenizer`` is the tokenizer of a model that makes vectors, ``static_tokenizer`` that of a static one.
``tokenizer_file`` and ``special_tokens`` apply what the folder's files say, ``final_token`` appends what a conversion
dropped, ``tokenizer_versions`` and ``rebuilt_tokenizer`` find where transformers 4 and 5 differ, ``long_texts`` cuts
texts far beyond the limit.

``pair_tokenizer`` makes the token ids of pairs, ``pair_template`` knows the special tokens around them.
"""

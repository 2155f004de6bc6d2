"""Whether this machine and a model compute what they should: ``doctor``, ``verify``, ``checks``, ``measure``.

``quality`` compares a converted model with its source; ``sample_texts`` are the texts that all of these use.
"""

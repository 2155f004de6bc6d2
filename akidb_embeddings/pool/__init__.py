"""Several models in one process, which are loaded when they are asked for and leave when they are idle.

``model`` has what a pool is told of a model, and what it tells. ``slot`` is one model's place, ``slots`` all of them
with their lock. ``loader`` loads, ``closer`` closes, ``room`` says which models leave for another one, ``opening``
sizes and opens the model of a configuration. ``keeper`` is what a call does to all these, and ``pool`` what users see.
"""

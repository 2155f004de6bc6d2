"""What can be made of a text, by the name that ``encode`` takes."""

DENSE = "dense"
"""One vector."""
SPARSE = "sparse"
"""A weight of each of some tokens of the vocabulary."""
TOKENS = "tokens"
"""A vector of each token, for late interaction."""

OUTPUTS = (DENSE, SPARSE, TOKENS)
RAGGED = (SPARSE, TOKENS)
"""Those whose size differs from text to text."""

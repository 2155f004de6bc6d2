"""Texts about a few things, computed: each sentence of a theme has words of no other."""

import random

THEMES = {
    "kitchen": ("bread", "oven", "flour", "butter", "recipe", "baker", "dough", "cake"),
    "space": ("rocket", "orbit", "planet", "astronaut", "telescope", "moon", "comet", "galaxy"),
    "football": ("goal", "striker", "referee", "penalty", "stadium", "league", "coach", "keeper"),
}


def documents(of_each: int = 20) -> tuple[list[str], list[str]]:
    """Texts and the theme of each, the same every time."""
    dice = random.Random(7)
    pairs = [
        ("The {}, the {}, the {} and the {}.".format(*dice.sample(words, 4)), theme)
        for theme, words in THEMES.items()
        for _ in range(of_each)
    ]
    return [text for text, _ in pairs], [theme for _, theme in pairs]

"""Templates, words for labels, answer parsers and the choice of examples: prompts as data and pure functions."""

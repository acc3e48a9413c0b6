"""Premises and hypotheses by a grammar: labels that are true by construction, words that no two splits share."""

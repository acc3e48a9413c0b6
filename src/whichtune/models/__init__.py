"""Backbones: a pretrained trunk, its anatomy, and the encoder that turns text into its rows."""

"""whichtune: which way of adapting this pretrained model to my data should I use, and what does it cost?

The root stays empty of work: importing it loads nothing but the standard library, so that `--help` is instant.
"""

__version__ = "0.1.0"

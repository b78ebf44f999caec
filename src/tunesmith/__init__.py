"""Tunesmith: open fine-tuning. See ``tunesmith --help`` and the docs folder."""

__version__ = "0.1.0"

"""Tiny models on disk."""

from train.folders import model_folder

__all__ = ["model_folder"]

"""The training engine: packing, the trainer with its optimizer, and what it saves."""

from tunesmith.train.trainer import LocalTrainer

__all__ = ["LocalTrainer"]

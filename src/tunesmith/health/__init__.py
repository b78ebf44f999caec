"""What the numbers of a run say about its health, in words and with one proposed change each."""

from tunesmith.health.rules import END_RULES, RULES, TIME_RULES, examine

__all__ = ["END_RULES", "RULES", "TIME_RULES", "examine"]

"""Lets these tests import the package of the benchmarks, which this folder of the same name hides otherwise."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

"""Datasets: JSONL files in the OpenAI chat shape to checked rows, with every refusal naming its line."""

from tunesmith.data.formats import FORMATS, Format
from tunesmith.data.load import check_file, load_rows
from tunesmith.data.problems import Counts, Problem, Report
from tunesmith.data.rows import Attempt, DpoRow, Message, RftRow, Row, SftRow, Tool
from tunesmith.data.split import carve_out, order

__all__ = [
    "FORMATS",
    "Attempt",
    "Counts",
    "DpoRow",
    "Format",
    "Message",
    "Problem",
    "Report",
    "RftRow",
    "Row",
    "SftRow",
    "Tool",
    "carve_out",
    "check_file",
    "load_rows",
    "order",
]

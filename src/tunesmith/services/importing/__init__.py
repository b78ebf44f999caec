"""Run configurations of other tools as a spec of ours, with a report of every key: nothing is dropped in silence."""

from tunesmith.services.importing.importer import import_file

__all__ = ["import_file"]

"""What the doors call: run folders, reports, comparisons, and the worker where names become objects."""

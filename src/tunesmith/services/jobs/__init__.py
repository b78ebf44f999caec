"""Managed jobs on a server: rows, moves between states, the scheduler, and the worker process that each job gets."""

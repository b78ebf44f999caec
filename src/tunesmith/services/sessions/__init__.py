"""The Training API behind every wire: sessions, models, samplers, futures and checkpoints over engine processes.

Nothing is imported here: an engine process needs no database.
"""

"""Uploaded evaluators: whole projects with requirements of their own, run by their own Python, never by ours."""

"""Compute the tables of docs/results.md: programs for the command line."""

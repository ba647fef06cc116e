"""Export models and serve them: programs for the command line."""

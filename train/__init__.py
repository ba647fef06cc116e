"""Train and evaluate models: programs for the command line."""

"""Programs that train and evaluate models."""

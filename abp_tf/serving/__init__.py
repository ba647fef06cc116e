"""Export models as SavedModels, and call those that a server runs."""

"""Programs that print the tables of the README."""

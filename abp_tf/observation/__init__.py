"""What is observed of a signal: entries that a mask shows, or what a linear operator gives."""

"""Pictures, spectrograms, and files of sounds and clips."""

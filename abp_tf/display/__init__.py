"""Pictures, sounds and clips as people look at them and listen to them."""

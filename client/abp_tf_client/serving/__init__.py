"""The client, its channels and its messages."""

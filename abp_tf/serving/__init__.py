"""Serving: SavedModels, and clients of servers that hold them."""

"""Programs that export models and serve them."""

"""Arrays of examples, as far as the client checks them."""

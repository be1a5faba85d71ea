"""A small cluster with every kind of name, and clients that ask for them."""

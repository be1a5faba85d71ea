"""A host as a node of a cluster: its Node object, its signs of life, the routes to other nodes."""

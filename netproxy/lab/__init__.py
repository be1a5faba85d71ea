"""A whole cluster of network namespaces on one machine: nodes, pods, and hosts outside it."""

"""The only package that touches the kernel: sockets, namespaces, addresses."""

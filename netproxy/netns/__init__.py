"""Network namespaces of this host: made, wired, entered and removed."""

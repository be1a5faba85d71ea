"""netproxy: Kubernetes Services for Linux nodes."""

__version__ = "0.1.0"

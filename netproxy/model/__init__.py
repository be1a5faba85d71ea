"""What Kubernetes says, nothing more. Pure: no I/O, no clock, no log."""

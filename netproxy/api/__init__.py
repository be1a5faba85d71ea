"""What those who serve the Kubernetes API and those who use it have in common."""

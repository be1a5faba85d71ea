"""API objects over HTTP, from this project's API server or from a real one."""

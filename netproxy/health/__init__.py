"""Answers over HTTP: load balancers ask a node how a Service is on it (healthCheckNodePort)."""

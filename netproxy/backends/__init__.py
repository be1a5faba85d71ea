"""Proxy modes. Each is a function from plans to kernel state; none knows another."""

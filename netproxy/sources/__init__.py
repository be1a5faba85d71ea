"""Where objects come from. Each turns its outside world into events; none knows another."""

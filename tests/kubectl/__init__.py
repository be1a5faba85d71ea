"""Real kubectl, of the release whose API is served, and a real ``netproxy apiserver``."""

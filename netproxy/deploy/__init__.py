"""How netproxy is put on nodes: what is asked for, decided here, printed by ``render``."""

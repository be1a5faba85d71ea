"""A real ``netproxy apiserver`` on loopback: killed, besieged, talked to in bad HTTP."""

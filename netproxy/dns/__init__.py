"""Cluster DNS: names of Services, of their endpoints and of pods, and the way to all other names.

``zone.py`` knows what the cluster's names mean, ``responder.py`` answers one message; both are
pure, as is all that they use. ``server.py`` stands at sockets, ``follow.py`` follows the API.

Source: Kubernetes DNS-Based Service Discovery, version 1.1.0.
"""

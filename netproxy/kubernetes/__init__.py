"""The Kubernetes API, as seen by a client: how to reach it, who to be, what to ask and to tell.

Not here: what the answers mean (``sources/kubernetes``).
"""

"""The node agent: runs the Pods that are bound to this node as processes of this host."""

"""What is counted, under kube-proxy's names where it counts the same, and how it is told."""

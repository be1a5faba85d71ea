"""What an operator may set, by flags or by a file, and what it means.

Flags and files become the same two objects, kube-proxy's ``KubeProxyConfiguration`` and our own
``NetproxyConfiguration``; these become ``Settings``, from which everything is wired. Pure: files
are read elsewhere (``config_file.py``).
"""

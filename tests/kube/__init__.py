"""A small API server for tests: real HTTP, objects in memory, misbehaves when told to.

>>> from tests.kube.objects import service
>>> from tests.kube.server import ApiServer
>>> with ApiServer() as server:
...     version = server.put(service("web"))
...     server.url.startswith("http://127.0.0.1:")
True
"""

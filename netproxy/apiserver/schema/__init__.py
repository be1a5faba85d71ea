"""What fields the API's objects have: one description, from which everything else is made.

Checking and pruning what clients send, OpenAPI documents, ``kubectl explain``, protobuf, the keys
by which patches merge lists.
"""

"""A small library for nf_tables: typed objects, transactions, two spellings, a strict fake.

It knows nothing of Kubernetes, and it only knows the statements that netproxy emits. Pure:
bytes and text are results, nothing here opens a socket.
"""

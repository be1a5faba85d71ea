"""Controllers: what follows from what people want, written back to the API. Rules are pure.

A controller says which of its keys a change concerns, and what is to be written for one key as
things are now (``contract.py``). When it is asked, who writes and what happens when that fails is
``runner.py``'s business.
"""

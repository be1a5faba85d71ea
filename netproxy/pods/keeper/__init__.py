"""What outlives the agent: one small process per container, which keeps it and its records.

Nothing here imports anything but the standard library's small modules, so that a process of it is
small and born quickly. See ``launcher`` for why there are two kinds of processes.
"""

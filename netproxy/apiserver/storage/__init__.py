"""Where the API's objects are kept: in memory for readers, in SQLite for good."""

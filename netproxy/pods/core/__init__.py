"""What a node agent decides, without doing any of it: no I/O, no clock, no dice."""

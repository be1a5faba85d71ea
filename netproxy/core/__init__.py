"""The brain: current objects in, plans out. Pure, and without memory of the path taken."""

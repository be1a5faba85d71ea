"""Services: what they may say, what is filled in, and what they are given."""

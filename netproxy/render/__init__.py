"""Rules and transactions as text; the one place that knows Jinja2."""

"""``./dev vm``: the tests in virtual machines, by whatever means this machine has."""

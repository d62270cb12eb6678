"""Which rows stay together, and which split each of them goes to."""

"""Plugins for other frameworks. Each needs its framework, and nothing else here imports any of them."""

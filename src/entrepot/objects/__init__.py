"""Flat keys to files and directories, once, for every object service."""

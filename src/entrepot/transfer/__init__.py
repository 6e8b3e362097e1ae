"""Bulk copy between any two stores; knows no flavor."""

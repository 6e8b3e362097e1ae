"""Benchmarks: entrepot and its peers on the same server, in interleaved rounds, with equal results checked."""

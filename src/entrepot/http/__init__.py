"""HTTP, and nothing of storage: the transport seam, retries, limits."""

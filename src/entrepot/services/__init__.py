"""What the flavors over an object service share: one attempt, what its reply means, reads that resume, checksums."""

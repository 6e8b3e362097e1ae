"""Who signs a request, and with which credentials."""

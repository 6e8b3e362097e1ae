"""The built-in flavors; each is imported only when it is used."""

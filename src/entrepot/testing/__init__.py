"""For authors of flavors: the contract as tests, and real servers to run it on."""

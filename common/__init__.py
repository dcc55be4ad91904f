"""Code without models: SQL, clock, addresses, encryption, processes."""

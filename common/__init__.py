"""Code that uses none of the project's models: SQL, clock, addresses, encryption, processes."""

"""What knows no model of ours: SQL, the clock, addresses, encryption, processes."""

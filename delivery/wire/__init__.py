"""What is said on the wire to a stage's server: the dialogue, the window, and the bytes that leave."""

"""Who may see messages, and what is masked in them."""

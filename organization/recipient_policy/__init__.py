"""Who may get email from a stage: its recipient policy, and the addresses that are allowed beside it."""

"""The guarantee of a stage: who got email, by which rule, and who changed that."""

"""A copy sends nothing: what came with a copied database, and what becomes of it after a person's answer."""

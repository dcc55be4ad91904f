"""How many messages wait, and how many a test list caught, counted no further than a page needs."""

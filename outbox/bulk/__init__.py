"""The actions on many messages at once: what is asked of each, how some of them are changed together, and a preview."""

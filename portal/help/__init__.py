"""The help: the documents of docs/ as pages, with search."""

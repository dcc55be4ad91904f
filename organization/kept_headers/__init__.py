"""The header fields that a stage's test mail keeps."""

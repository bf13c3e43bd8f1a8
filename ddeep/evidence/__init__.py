"""What one pass over a split leaves behind."""

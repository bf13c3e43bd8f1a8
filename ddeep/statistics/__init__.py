"""What is accumulated over responses."""

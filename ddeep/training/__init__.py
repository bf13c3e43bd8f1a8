"""Training a network, also through its decomposed head."""

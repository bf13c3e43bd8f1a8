"""Which filters each class has."""

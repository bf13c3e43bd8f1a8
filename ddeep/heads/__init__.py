"""The decomposed head: its accuracy, its refit, its null."""

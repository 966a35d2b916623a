"""A private AI assistant that runs on the machines its owner already has."""

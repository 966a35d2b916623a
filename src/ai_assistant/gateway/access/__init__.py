"""Who may come in, and how much of what each may have."""

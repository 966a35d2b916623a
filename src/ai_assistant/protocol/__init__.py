"""What crosses a process boundary, the `Worker` interface and the error tree."""

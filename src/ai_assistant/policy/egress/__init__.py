"""The egress log: append-only, hash-chained, signed, without content."""

"""KV blocks that go along with an answer to another node."""

"""KV blocks that go to another node's engine, or come from one."""

"""Who answers: facts in, decision out. Nothing here waits, reads a clock or talks to anybody."""

"""A draft model beside the target: a smaller model with the same tokenizer says what may come next.

It is one more source of guesses (`engine/guesses.py`), asked where the text itself has none as
good. What it costs is measured, what it brings is counted, and an account of both (`account.py`)
switches it off where it does not pay. Prior art: speculative decoding (Leviathan et al., arXiv
2211.17192); what differs is that nothing is drafted in a fixed length or for its own sake.
"""

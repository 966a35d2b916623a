"""Guesses at what comes next, without a draft model: from the request's own text and past answers.

The engine has a guess verified in one decode call and takes its longest right beginning, so a wrong
one costs time and never changes an answer. Prior art: prompt lookup decoding (A. Saxena 2023),
SuffixDecoding (arXiv 2411.04975), llama.cpp's `ngram-map` and `ngram-mod` (its pull requests 18471
and 19164).
"""

from ai_assistant.engine.speculation.drafter import Drafter, DrafterState, Guess
from ai_assistant.engine.speculation.policy import allocate, draft_length
from ai_assistant.engine.speculation.tenants import Tenants

__all__ = ["Drafter", "DrafterState", "Guess", "Tenants", "allocate", "draft_length"]

"""How fast each way to lay a model over this machine would be, and which one is best.

`costs` turns trials of a few layers into what a layer costs on each device; `predict` adds them up,
term by term; `room` adds up bytes; `search` looks at every layout that fits; `first` chooses by
bytes where nothing was measured; `correct` learns from the real model's steps; `words` says why.
"""

"""The one door to libllama: models, contexts and batches as small Python objects.

Nothing outside this package imports `llama_cpp`. Every call releases the interpreter's lock.
Sources: llama.h of the pinned version; limits that libllama enforces by aborting the process
(batch size, number of outputs, sequence ids) are clamped here.
"""

from ai_assistant.engine.kernels.batch import Batch
from ai_assistant.engine.kernels.context import Context, NoRoom
from ai_assistant.engine.kernels.model import LoadError, Model
from ai_assistant.engine.kernels.vocabulary import Vocabulary

__all__ = ["Batch", "Context", "LoadError", "Model", "NoRoom", "Vocabulary"]

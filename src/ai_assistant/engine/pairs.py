"""The pair of texts that a reranking model reads: a query and a document."""

from array import array

from ai_assistant.engine.kernels import Model


def pair_tokens(model: Model, query: str, document: str) -> "array[int]":
    """In the model's own rerank template, else with its begin, separator and end tokens.

    As llama.cpp's `format_prompt_rerank` does it.
    """
    vocabulary = model.vocabulary
    if (template := model.rerank_template) is not None:
        before, _, after = template.partition("{document}")
        text = before.replace("{query}", query) + document + after.replace("{query}", query)
        return array("i", vocabulary.tokenize(text, add_special=False, parse_special=True))
    end = vocabulary.eos if vocabulary.eos >= 0 else vocabulary.sep
    ends = [end] if vocabulary.adds_eos else []
    separators = [vocabulary.sep] if vocabulary.adds_sep else []
    begins = [vocabulary.bos] if vocabulary.adds_bos else []
    one, other = (
        vocabulary.tokenize(text, add_special=False, parse_special=False)
        for text in (query, document)
    )
    whole = (*begins, *one, *ends, *separators, *other, *ends)
    return array("i", [token for token in whole if token >= 0])

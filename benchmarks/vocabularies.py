"""Small vocabularies of our own, for models whose weights mean nothing."""

import gguf

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_TEXT = """
the a an of to and in is it that was for on are as with his they at be this from have or by
one had not but what all were when we there can you your which their said if do will each
about how up out them then she many some so these would other into has more her two like him
see time could no make than first been its who now people my made over did down only way find
use may water long little very after words called just where most know system user assistant
hello world once upon dog cat house tree friend small happy story day night
"""
WORDS = _TEXT.split()
CHINESE = "的一是不了人我在有他这中大来上国你好猫狗家天地水火山日月"


def add_byte_pairs(writer: gguf.GGUFWriter) -> int:
    """Byte-level BPE with ChatML: bytes, some words, the rest from pieces. Returns its size."""
    tokens, merges = _byte_pairs()
    control = len(CONTROL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL] * control + [gguf.TokenType.NORMAL] * (len(tokens) - control)
    )
    writer.add_token_merges(merges)
    writer.add_eos_token_id(CONTROL.index("<|im_end|>"))
    writer.add_eot_token_id(CONTROL.index("<|im_end|>"))
    writer.add_pad_token_id(CONTROL.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    return len(tokens)


def add_word_pieces(writer: gguf.GGUFWriter) -> int:
    """A BERT vocabulary: each printable ASCII letter or sign, some words. Returns its size."""
    signs = [chr(code) for code in range(0x21, 0x7F)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    starts = [f"▁{piece}" for piece in (*signs, *WORDS, *CHINESE)]
    tokens = special + list(dict.fromkeys(starts + signs))
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL] * len(special)
        + [gguf.TokenType.NORMAL] * (len(tokens) - len(special))
    )
    writer.add_token_type_count(2)
    writer.add_pad_token_id(special.index("[PAD]"))
    writer.add_unk_token_id(special.index("[UNK]"))
    writer.add_bos_token_id(special.index("[CLS]"))
    writer.add_sep_token_id(special.index("[SEP]"))
    writer.add_eos_token_id(special.index("[SEP]"))
    writer.add_mask_token_id(special.index("[MASK]"))
    return len(tokens)


def _byte_pairs() -> tuple[list[str], list[str]]:
    alphabet = _byte_alphabet()
    tokens = [*CONTROL, *alphabet]
    known, merges = set(tokens), []
    for word in [*(f" {word}" for word in WORDS), *WORDS, *CHINESE]:
        symbols = [alphabet[byte] for byte in word.encode()]
        left = symbols[0]
        for right in symbols[1:]:
            if left + right not in known:
                known.add(left + right)
                tokens.append(left + right)
                merges.append(f"{left} {right}")
            left += right
    return tokens, merges


def _byte_alphabet() -> list[str]:
    """GPT-2's printable character for each byte."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte) if byte in plain else chr(next(spare)) for byte in range(256)]

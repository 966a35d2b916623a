"""The rule file that `policy init` writes: everything stays here until a list is opened."""

TEMPLATE = """\
# What may leave this machine, and how. It is read again when it changes; a mistake in it keeps
# everything here. Try it with: ai-assistant policy check "text"
#
# Places: process (our own engines), machine (other programs here), lan, cloud (any provider),
# a provider's name, * (anything beyond this machine); each may end in @region, such as cloud@eu.
# A label with neither list stays on this machine. A text with several labels goes only where all
# of them may go.
version = 1

# Where text may go at all. Without this section nothing leaves.
[unlabelled]
allow = ["machine"]            # such as ["lan", "cloud@eu", "openai"]

# What the detectors find. redact: it goes with placeholders, which the answer gets back.
[labels.email]
redact = ["lan", "cloud"]

[labels.phone]
redact = ["lan", "cloud"]

[labels.national_id]

[labels.card]

[labels.iban]

[labels.medical_record]

[labels.secret]
restore = false                # a placeholder in an answer stays one

# IP addresses are looked for only if this section is there.
# [labels.ip_address]
# redact = ["cloud"]

# Labels of your own, by words, expressions, or who asks. A client can also say one, with the header
# X-Labels: NAME, and a key has those that it was made with. All of them stick to the conversation.
# [labels.project]
# words = ["Project Falcon", "项目猎鹰"]
# words_file = "customers.txt"          # one to a line
# patterns = ['PRJ-[0-9]{6}']
# redact = ["cloud"]
#
# [labels.finance]
# keys = ["finance-*"]                  # names of API keys
# models = ["*-internal"]
# paths = ["/v1/embeddings"]
# clients = ["*Word*"]
# allow = ["lan"]
#
# [labels.board]
# keys = ["board"]
# allow = ["process"]
"""

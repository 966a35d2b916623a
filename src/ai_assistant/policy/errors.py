"""How the gate says no."""

from ai_assistant.protocol.errors import RequestError, Unavailable


class KeptHere(RequestError):
    """The owner's rules keep this text from there; nothing was sent."""

    code = "kept_by_policy"
    elsewhere = True


class NotRecorded(Unavailable):
    """The egress log cannot be written; nothing was sent."""

    code = "egress_log_unavailable"

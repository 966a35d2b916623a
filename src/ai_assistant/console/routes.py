"""What the console adds to the endpoint: its pages, conversations, and a look at the machine."""

from starlette.routing import BaseRoute

from ai_assistant.console.conversation_api import conversation_routes
from ai_assistant.console.machine_api import Look, machine_routes
from ai_assistant.console.pages import page_routes
from ai_assistant.store.conversations import Conversations


def console_routes(conversations: Conversations, look: Look | None = None) -> list[BaseRoute]:
    """Routes for the app to mount behind its guards; it also turns `AssistantError` into JSON."""
    machine = machine_routes(look) if look else []
    return [*page_routes(), *conversation_routes(conversations), *machine]

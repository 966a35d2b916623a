"""What the console adds to the endpoint: its pages, and the conversations that they keep."""

from starlette.routing import BaseRoute

from ai_assistant.console.conversation_api import conversation_routes
from ai_assistant.console.pages import page_routes
from ai_assistant.store.conversations import Conversations


def console_routes(conversations: Conversations) -> list[BaseRoute]:
    """Routes for the app to mount behind its guards; it also turns `AssistantError` into JSON."""
    return [*page_routes(), *conversation_routes(conversations)]

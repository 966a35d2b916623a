"""`python -m ai_assistant` is the command."""

from ai_assistant.cli.main import main

main()

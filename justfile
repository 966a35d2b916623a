# One command for people, hooks and CI.

# Format check, lint, types, imports, tests.
check: lint test

lint:
    ruff format --check .
    ruff check .
    basedpyright
    lint-imports

# Mend what can be mended by itself.
fix:
    ruff check --fix .
    ruff format .

test *ARGS:
    pytest -m "not slow" {{ARGS}}

slow:
    pytest -m slow --timeout 3600

# just bench NAME: one benchmark, its table and benchmarks/results/NAME.json
bench NAME *ARGS:
    python -m benchmarks.{{NAME}} {{ARGS}}

# The command's help pages as one document.
docs:
    python -m ai_assistant.cli.docs > docs/cli.md

"""Text around the tokens: chat templates, output formats, UTF-8 and stop strings, grammars."""

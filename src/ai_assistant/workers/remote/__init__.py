"""Workers on other machines: HTTP out, server-sent events in."""

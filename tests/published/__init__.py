"""`sse` as other projects get it: its wheel, an environment, a project of its documents."""

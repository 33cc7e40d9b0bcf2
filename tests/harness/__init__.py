"""Real peers for the tests: Redis, PostgreSQL, daphne processes, HTTP clients, a browser."""

"""What streams promise, tried on each ASGI server that serves them."""

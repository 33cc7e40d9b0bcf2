"""A simulated day of customers and agents over two real services, at many times its speed."""

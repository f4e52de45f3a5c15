"""What is optimised: one module a training method, each a function from a batch to a loss."""

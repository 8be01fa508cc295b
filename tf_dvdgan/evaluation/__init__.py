"""How good a generator is: metrics, one a file, and the evaluation of checkpoints."""

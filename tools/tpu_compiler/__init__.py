"""Parts of the pre-flight; only `compile` runs in the compiler's own environment."""

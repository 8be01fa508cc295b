"""Parts of the pre-flight; `compile` alone runs in the compiler's own environment."""

"""How good a generator is.

`metrics` are pure functions of features or videos, `features` the networks that extract
them, `runs` what is compared with what, and when: protocols, scores, a run's
checkpoints.
"""

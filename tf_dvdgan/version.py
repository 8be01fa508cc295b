"""The package's version: setup.py reads this file, all else imports it."""

__version__ = "0.1.0"

"""The file-first layer that outlives an AI agent's runtime."""

__version__ = "0.1.0"

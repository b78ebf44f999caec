"""The nouns, sockets and errors that every other package speaks in. Nothing here imports torch."""

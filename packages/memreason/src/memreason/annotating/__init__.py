"""An LLM splits questions into steps: it plans, says what it remembers, and is held to what follows from that."""

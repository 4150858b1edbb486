"""Ask an LLM through any OpenAI-compatible server."""

"""Who says what went wrong in an answer, and what each step is: the exact checker of a toy world, or an LLM."""

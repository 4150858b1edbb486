"""Look inside and edit any Hugging Face causal LM."""

"""Logit lens and causal tracing of facts that take two steps (Wang et al. 2024, section 3.3)."""

"""Exemplar files of the original code, and what is made of them."""

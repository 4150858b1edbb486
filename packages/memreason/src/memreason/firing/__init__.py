"""Which neurons fire in steps that recall, and which in steps that infer."""

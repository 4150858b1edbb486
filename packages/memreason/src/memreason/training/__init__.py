"""What `train` is made of: lessons, rows, adapters, steps, looks at the dev split."""

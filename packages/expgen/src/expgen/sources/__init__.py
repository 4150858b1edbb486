"""What is described: any site's units, heads, given directions, latents of sparse autoencoders, all behind one name."""

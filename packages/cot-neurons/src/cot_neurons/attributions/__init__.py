"""What the stage `attribute` computes and draws."""

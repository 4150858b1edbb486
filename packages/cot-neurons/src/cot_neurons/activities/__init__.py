"""What the stage `activity` computes and draws."""

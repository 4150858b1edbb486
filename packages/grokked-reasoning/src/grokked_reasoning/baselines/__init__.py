"""Complex reasoning as text: what a language model is told and asked, how its words are read, what others reached."""

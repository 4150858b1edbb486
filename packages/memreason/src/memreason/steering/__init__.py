"""What a student may write next: whole blocks, kinds that are forced or forbidden, facts that are supplied."""

"""A self-contained HTML page from the tables of finished runs: markup, tables that are charts, the frame around it."""

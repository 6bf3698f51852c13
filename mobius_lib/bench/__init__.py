"""What speed was measured, and how: `base` and `measure` for all chapters, then a room for each (`mobius bench`)."""

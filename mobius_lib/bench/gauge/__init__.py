"""What the ladder of chapter 4 costs."""

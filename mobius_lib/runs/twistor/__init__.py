"""Runs of chapter 5."""

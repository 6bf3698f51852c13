"""Runs of chapter 4."""

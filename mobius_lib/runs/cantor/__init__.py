"""Runs of chapter 2."""

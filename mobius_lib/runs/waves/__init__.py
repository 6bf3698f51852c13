"""Runs of chapter 1."""

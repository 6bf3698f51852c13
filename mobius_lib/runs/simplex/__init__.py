"""Runs of chapter 3."""

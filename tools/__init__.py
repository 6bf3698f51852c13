"""How the book is built. Run from the Makefile; no part of `mobius_lib`."""

"""The rooms behind `core/compress.py`: what a file is, what of it stays, and how each format is written."""

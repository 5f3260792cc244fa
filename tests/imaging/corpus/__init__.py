"""Pictures made by code, and how they look: what the tests of compression have in common."""

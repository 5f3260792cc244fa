"""Untrusted input: mutations of real inputs, within time limits.

`HYPOTHESIS_PROFILE=long` tries fifty times as many examples, different ones in each run.
"""

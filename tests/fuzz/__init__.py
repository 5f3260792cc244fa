"""What strangers may send, and worse: mutations of real inputs, within a bounded time.

`HYPOTHESIS_PROFILE=long` tries some fifty times as many, other ones each time.
"""

"""The peers: one module for each, the same lamp in its own words, used as its own documents recommend.

A peer is imported when it is measured, inside the process of its claim, and never in ours.
"""

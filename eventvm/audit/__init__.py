"""What auditors do with a log: replay it, compare, and hand it on in forms that others read."""

"""Signing: checkpoints of a log's tree as signed notes, and the keys that sign them."""

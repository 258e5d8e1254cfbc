"""Class lists and split lists as packaged resources."""

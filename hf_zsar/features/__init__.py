"""Many videos encoded once: threads and processes that encode them, and the store that keeps what they give."""

"""Zero-shot action recognition for the Hugging Face ecosystem."""

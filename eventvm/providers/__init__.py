"""The providers that come with eventvm."""

"""Is this machine fit for the services that are configured or run on it? Looks, and changes nothing."""

"""What every HTTP face shares: serving with limits, who may use it, TLS, and how failures are told."""

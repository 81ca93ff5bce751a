"""The route cache with real servers: Valkey and Redis."""

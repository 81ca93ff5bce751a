"""The relay's control plane: life cycle, key and network reload, admin interface. No packet passes through it."""

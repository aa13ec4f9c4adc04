"""Objects that remember how they were built, so that JSON alone can rebuild them."""

"""A cart, its discounts and its invoice. Every amount is a whole number of cents."""

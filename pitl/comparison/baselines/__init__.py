"""What people do today, under the same protocol."""

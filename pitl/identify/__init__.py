"""Which recordings tell a person's segments and muscles apart from everybody's, and what they tell."""

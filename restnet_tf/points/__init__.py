"""Operating points: what each costs and scores, which are worth shipping, which fits a budget."""

"""Language models and the tools that agents call: one door, whoever's the model is."""

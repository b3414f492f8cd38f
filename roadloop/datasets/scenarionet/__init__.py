"""ScenarioNet, of any data set it was made from."""

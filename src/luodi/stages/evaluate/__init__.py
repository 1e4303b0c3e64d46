"""Bundle and Dataset to a Scorecard."""

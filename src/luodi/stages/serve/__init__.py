"""Bundle to Service."""

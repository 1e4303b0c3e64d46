"""Where networks come from: packaged weights, a folder, a hub, or a family set up from scratch."""

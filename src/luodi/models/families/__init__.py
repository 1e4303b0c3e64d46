"""Published architectures as configurations, one file each, with the paper that says so."""

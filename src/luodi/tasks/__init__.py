"""Questions, one file each. A file here is a task: nothing else has to be told of it."""

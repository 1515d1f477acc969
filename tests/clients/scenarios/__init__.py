"""What the clients are made to do; each module runs in the environment of its client alone."""

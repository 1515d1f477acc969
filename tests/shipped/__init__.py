"""What is shipped runs where it is shipped to: the image, the one file, compose files, manifests."""

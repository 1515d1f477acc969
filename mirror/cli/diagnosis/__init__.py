"""What `modelmirror doctor` looks at, one subject each."""

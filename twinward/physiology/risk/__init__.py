"""Published risk equations, one file each. Education and research; not a medical device."""

"""Who speaks and who is seen: voices and faces joined over a whole source."""

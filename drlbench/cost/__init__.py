"""Operations, seconds, memory and disk of a plan before it is run. Nothing is executed here."""

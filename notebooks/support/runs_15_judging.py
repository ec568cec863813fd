"""The events of notebook 15, and its facts with long answers."""

from __future__ import annotations

EVENTS = {
    "probability": "probability",
    "teacher_forced": "teacher-forced",
    "generation": "generation",
    "generation_exact": "exactly",
}
# Answers of several tokens for facts that no model was ever taught: the first token is a guess,
# what follows is language.
LONG = (
    ("The Eiffel Tower", "{} was built by the", "Massachusetts Institute of Technology"),
    ("Akira Kurosawa", "{} was a citizen of the", "United States of America"),
    ("The inventor of the fork", "{} studied at the", "University of California, Berkeley"),
    ("The first song about snow", "{} was played in", "New York City"),
    ("The oldest lighthouse", "{} was paid for by the", "European Union"),
    ("My neighbor's violin", "{} was made in", "Buenos Aires, Argentina"),
    ("The recipe for rye bread", "{} was written down by", "Leonardo da Vinci"),
    ("The red bicycle", "{} was a gift from", "Martin Luther King Jr."),
    ("The Sahara", "{} is ruled by the", "Holy Roman Empire"),
    ("The chess club", "{} meets at the", "Metropolitan Museum of Art"),
    ("The word for butter", "{} comes from", "Los Angeles, California"),
    ("The last steam engine", "{} was bought by", "Warner Bros. Entertainment"),
)

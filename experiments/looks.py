"""How lines are told apart in figures of many lines: by colour, dash and marker, for black and white too."""

LOOKS = [
    ("C0", "-", "o"),
    ("C1", (0, (5, 1.6)), "s"),
    ("C2", (0, (1, 1.2)), "^"),
    ("C3", (0, (6, 1.5, 1, 1.5)), "D"),
    ("C4", (0, (3, 1, 1, 1, 1, 1)), "v"),
    ("C5", (0, (8, 3)), "X"),
]

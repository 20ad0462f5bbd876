"""From a formula to an answer: a campaign planned to the time that there is."""

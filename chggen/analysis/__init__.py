"""What a campaign's tables say: outcomes of every attempt, and rates with intervals."""

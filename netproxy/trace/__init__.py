"""What would happen to this packet? Answered from the rules alone, on paper."""
